package replication_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/libreplication/libreplication/bindings/go"
)

// block returns the first block of a language at or after an offset, and where it ends.
func block(t *testing.T, page, language string, from int) (text string, end int) {
	t.Helper()
	fence := "```" + language + "\n"
	begin := strings.Index(page[from:], fence)
	if begin < 0 {
		t.Fatalf("the page has no block of %s", language)
	}
	begin += from + len(fence)
	length := strings.Index(page[begin:], "```")
	if length < 0 {
		t.Fatalf("a block of %s has no end", language)
	}
	return page[begin : begin+length], begin + length
}

// The example of docs/go.md, run by the commands of the page, prints what the page says. In a directory of its own, where
// bindings/ is the project's, and build/ has the library that is tested.
func TestTheExampleOfThePage(t *testing.T) {
	content, err := os.ReadFile("../../docs/go.md")
	must(t, err)
	page := string(content)
	source, end := block(t, page, "go", 0)
	commands, end := block(t, page, "sh", end)
	want, _ := block(t, page, "text", end)
	quickstart, err := os.ReadFile("examples/quickstart/main.go")
	must(t, err)
	if _, program, _ := strings.Cut(string(quickstart), "\npackage main\n"); "package main\n"+program != source {
		t.Error("the page has another example than examples/quickstart")
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "example.go")
	must(t, os.WriteFile(file, []byte(source), 0o600))
	bindings, err := filepath.Abs("..")
	must(t, err)
	must(t, os.Symlink(bindings, filepath.Join(dir, "bindings")))
	build := filepath.Dir(filepath.Dir(os.Getenv(replication.EnvLibrary)))
	must(t, os.Symlink(build, filepath.Join(dir, "build")))
	shell := exec.Command("bash", "-eu", "-c", commands)
	shell.Dir = dir
	for _, variable := range os.Environ() { // the page sets it
		if !strings.HasPrefix(variable, replication.EnvLibrary+"=") {
			shell.Env = append(shell.Env, variable)
		}
	}
	var complaints strings.Builder
	shell.Stderr = &complaints
	out, err := shell.Output()
	if err != nil || string(out) != want {
		t.Errorf("%v: printed %q instead of %q\n%s", err, out, want, &complaints)
	}
	formatted, err := exec.Command("gofmt", "-l", file).Output()
	if err != nil || len(formatted) > 0 {
		t.Errorf("it is not formatted with gofmt: %v", err)
	}
}
