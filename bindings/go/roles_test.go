package replication_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// roleVariable makes this test program play another part than to test: a process that a test starts.
const roleVariable = "REPLICATION_TEST_ROLE"

var roles = map[string]func() error{}

func play(role string) int {
	part, known := roles[role]
	if !known {
		fmt.Fprintln(os.Stderr, "no such role:", role)
		return 2
	}
	if err := part(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// startRole starts this program in a part, killed at the end of the test or when it takes too long.
func startRole(t testing.TB, role string, environment ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	t.Cleanup(cancel)
	p := exec.CommandContext(ctx, os.Args[0])
	p.Env = append(append(os.Environ(), environment...), roleVariable+"="+role)
	p.Stderr = os.Stderr
	must(t, p.Start())
	return p
}
