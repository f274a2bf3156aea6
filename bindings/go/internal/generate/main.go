// Generate writes what the package has from include/replication.h: a copy of it, the table of its functions, and a C
// function for each that calls it through the table. Run it with "go generate" in the package's directory; with -check
// it changes nothing and fails when a file is not as it would write it.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

var (
	comments   = regexp.MustCompile(`(?s)/\*.*?\*/|//[^\n]*`)
	directives = regexp.MustCompile(`(?m)^[ \t]*#.*$`)
	// A function begins a statement; a typedef of one begins with "typedef".
	prototypes = regexp.MustCompile(`(?m)^((?:const )?(?:struct )?\w+ \**)((?:sender|receiver|replication)_\w+)\(([^()]*)\);`)
	parameter  = regexp.MustCompile(`(\w+)$`)
)

type function struct{ result, name, parameters string }

func functions(header []byte) []function {
	text := comments.ReplaceAll(header, nil)
	text = directives.ReplaceAll(text, nil)
	var found []function
	for _, match := range prototypes.FindAllSubmatch(text, -1) {
		parameters := strings.Join(strings.Fields(string(match[3])), " ")
		found = append(found, function{string(match[1]), string(match[2]), parameters})
	}
	return found
}

func symbols(functions []function) []byte {
	var out bytes.Buffer
	out.WriteString("/* The functions that are looked up in the library: all that replication.h declares. Made by \"go generate\". */\n")
	for _, f := range functions {
		fmt.Fprintf(&out, "X(%s)\n", f.name)
	}
	return out.Bytes()
}

func trampolines(functions []function) []byte {
	var out bytes.Buffer
	out.WriteString("/* A way to each function through the table, as cgo calls no pointers. Made by \"go generate\". */\n\n")
	for _, f := range functions {
		result, give := f.result, "return "
		switch result {
		case "void ":
			give = ""
		case "replication_status ":
			result = "int32_t " // what cgo makes of an enumeration depends on the compiler
		}
		var arguments []string
		if f.parameters != "void" {
			for _, p := range strings.Split(f.parameters, ",") {
				arguments = append(arguments, parameter.FindString(strings.TrimSpace(p)))
			}
		}
		fmt.Fprintf(&out, "static inline %slr_%s(%s)\n{\n    %slr_library.%s(%s);\n}\n\n",
			result, f.name, f.parameters, give, f.name, strings.Join(arguments, ", "))
	}
	return out.Bytes()
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("generate: ")
	header := flag.String("header", "../../include/replication.h", "the header of the library")
	dir := flag.String("dir", ".", "the package's directory")
	check := flag.Bool("check", false, "compare instead of writing")
	flag.Parse()

	text, err := os.ReadFile(*header)
	if err != nil {
		log.Fatal(err)
	}
	found := functions(text)
	if len(found) == 0 {
		log.Fatalf("%s declares no function", *header)
	}
	for name, content := range map[string][]byte{
		"replication.h": text,
		"symbols.h":     symbols(found),
		"trampolines.h": trampolines(found),
	} {
		path := filepath.Join(*dir, name)
		if *check {
			if present, err := os.ReadFile(path); err != nil || !bytes.Equal(present, content) {
				log.Fatalf("%s is not what %s asks for: run go generate", path, *header)
			}
		} else if err := os.WriteFile(path, content, 0o644); err != nil {
			log.Fatal(err)
		}
	}
}
