package replication_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
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

// The example of docs/go.md compiles as it stands and prints what the page says.
func TestTheExampleOfThePage(t *testing.T) {
	content, err := os.ReadFile("../../docs/go.md")
	must(t, err)
	page := string(content)
	source, end := block(t, page, "go", 0)
	command, end := block(t, page, "sh", end)
	want, _ := block(t, page, "text", end)
	if !strings.Contains(command, "go run example.go") {
		t.Fatalf("the page runs its example with %q", command)
	}
	quickstart, err := os.ReadFile("examples/quickstart/main.go")
	must(t, err)
	if _, program, _ := strings.Cut(string(quickstart), "\npackage main\n"); "package main\n"+program != source {
		t.Error("the page has another example than examples/quickstart")
	}
	file := filepath.Join(t.TempDir(), "example.go")
	must(t, os.WriteFile(file, []byte(source), 0o600))
	out, err := exec.Command("go", "run", file).Output()
	if err != nil || string(out) != want {
		t.Errorf("%v: printed %q instead of %q", err, out, want)
	}
	formatted, err := exec.Command("gofmt", "-l", file).Output()
	if err != nil || len(formatted) > 0 {
		t.Errorf("it is not formatted with gofmt: %v", err)
	}
}
