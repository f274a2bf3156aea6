package replication_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/libreplication/libreplication/bindings/go"
)

// secretOfBytes is a secret of 32 times this byte.
func secretOfBytes(b byte) replication.Secret {
	return replication.Secret{Cluster: "cluster", Name: "readers", Bytes: bytes.Repeat([]byte{b}, 32)}
}

// startProving starts a sender that only readers with the secret may follow, also without TLS.
func startProving(t *testing.T, secret replication.Secret) (*replication.Sender, string) {
	t.Helper()
	return startSender(t, &replication.SenderConfig{
		AccessRules: "* * secret:readers * read,ack", Secrets: []replication.Secret{secret}, PlainSecretsAllowed: true,
	})
}

func TestBothEndsProveASecret(t *testing.T) {
	checkLeaks(t)
	file := filepath.Join(t.TempDir(), "secret")
	phrase := replication.Secret{Cluster: "cluster", Name: "readers", Passphrase: "correct horse battery"}
	for _, each := range []struct {
		secret  replication.Secret
		content string
		inFile  replication.Secret
	}{
		{secretOfBytes(7), string(secretOfBytes(7).Bytes), replication.Secret{Cluster: "cluster", Name: "readers", File: file}},
		{phrase, phrase.Passphrase, replication.Secret{Cluster: "cluster", Name: "readers", PassphraseFile: file}},
	} {
		must(t, os.WriteFile(file, []byte(each.content+"\n"), 0o600))
		s, address := startProving(t, each.secret)
		cfg, _ := follow(address, "reader")
		cfg.Secret, cfg.PlainSecretsAllowed, cfg.WriterIdentity = &each.inFile, true, "secret:readers"
		r := startReceiver(t, cfg)
		must(t, r.WaitSequence(within(t), appendTexts(t, s, "x")))
		row := s.Stats()["readers"].([]map[string]interface{})[0]
		if row["identity"] != "secret:readers" {
			t.Errorf("identity %v", row["identity"])
		}
		must(t, r.Stop())
	}
}

func TestASecretThatIsNotProven(t *testing.T) {
	checkLeaks(t)
	_, address := startProving(t, secretOfBytes(1))
	other := secretOfBytes(2)
	for _, secret := range []*replication.Secret{&other, nil} {
		cfg, _ := follow(address, "reader")
		var events eventLog
		cfg.Secret, cfg.PlainSecretsAllowed, cfg.EventHandler = secret, true, events.add
		r := startReceiver(t, cfg)
		if event := events.first(t, replication.EventRefused); event.Status != replication.ErrNotAuthorized || r.IsConnected() {
			t.Errorf("%+v", event)
		}
	}
	known := secretOfBytes(1)
	cfg, _ := follow(address, "reader")
	var events eventLog
	cfg.Secret, cfg.EventHandler = &known, events.add
	startReceiver(t, cfg)
	if event := events.first(t, replication.EventRefused); !strings.Contains(event.Message, "plain_secrets_allowed") {
		t.Errorf("%+v", event)
	}
}

func TestASecretTakesThePlaceOfAnother(t *testing.T) {
	checkLeaks(t)
	old, young := secretOfBytes(1), secretOfBytes(2)
	s, address := startProving(t, old)
	cfg, _ := follow(address, "reader")
	var events eventLog
	cfg.Secret, cfg.PlainSecretsAllowed, cfg.EventHandler = &old, true, events.add
	r := startReceiver(t, cfg)
	must(t, r.WaitSequence(within(t), appendTexts(t, s, "x")))
	must(t, s.AddSecret(young))
	if err := s.AddSecret(young); !errors.Is(err, replication.ErrInvalidState) {
		t.Error(err)
	}
	must(t, r.SetSecret(&young))
	must(t, s.RemoveSecret("readers"))
	if event := events.first(t, replication.EventDisconnected); event.Status != replication.ErrNotAuthorized {
		t.Errorf("%+v", event)
	}
	must(t, r.WaitSequence(within(t), appendTexts(t, s, "y")))
	must(t, r.SetSecret(nil))
	must(t, s.RemoveSecret("readers"))
	events.first(t, replication.EventRefused)
	if err := s.RemoveSecret("readers"); !errors.Is(err, replication.ErrNotFound) {
		t.Error(err)
	}
	must(t, r.Stop())
	must(t, s.Stop())
	for _, err := range []error{r.SetSecret(&old), r.SetSecret(nil), s.AddSecret(old), s.RemoveSecret("readers")} {
		if !errors.Is(err, replication.ErrClosed) {
			t.Error(err)
		}
	}
}

func TestSecretsAreChecked(t *testing.T) {
	checkLeaks(t)
	file := filepath.Join(t.TempDir(), "secret")
	must(t, os.WriteFile(file, secretOfBytes(1).Bytes, 0o644))
	must(t, os.Chmod(file, 0o644))
	two := secretOfBytes(1)
	two.Passphrase = "correct horse battery"
	for want, secrets := range map[error][]replication.Secret{
		replication.ErrInvalidArgument: {
			{Name: "readers"}, two, {Name: "readers", Bytes: []byte("short")}, {Name: "readers", Passphrase: "short"},
			{Bytes: secretOfBytes(1).Bytes}, {Name: "a\x00b", Bytes: secretOfBytes(1).Bytes}, {Name: "readers", File: file},
			{Name: "readers", Bytes: []byte{}},
		},
		replication.ErrIO: {{Name: "readers", File: "/nowhere/secret"}, {Name: "readers", PassphraseFile: "/nowhere/secret"}},
	} {
		s, _ := startSender(t, nil)
		for i := range secrets {
			if _, err := replication.OpenSender(&replication.SenderConfig{Secrets: secrets[i : i+1]}); !errors.Is(err, want) {
				t.Errorf("%v: %v", secrets[i], err)
			}
			if err := s.AddSecret(secrets[i]); !errors.Is(err, want) {
				t.Errorf("%v: %v", secrets[i], err)
			}
		}
	}
	s, _ := startSender(t, nil)
	must(t, s.AddSecret(replication.Secret{Name: "readers", File: file, InsecurePermissionsAllowed: true}))
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		shown := fmt.Sprintf(format+format, two, &two)
		if strings.Contains(shown, "horse") || strings.Contains(shown, "1") || !strings.Contains(shown, "readers") {
			t.Errorf("%s shows %s", format, shown)
		}
	}
}
