package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/libreplication/libreplication/bindings/go"
)

func TestMain(m *testing.M) {
	if os.Getenv(replication.EnvLibrary) == "" {
		if built, err := filepath.Abs("../../../../build/lib/libreplication.so"); err == nil {
			os.Setenv(replication.EnvLibrary, built)
		}
	}
	os.Exit(m.Run())
}

func Example() {
	main()
	// Output:
	// 1: insert
	// 2: commit
}
