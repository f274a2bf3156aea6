package replication_test

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/libreplication/libreplication/bindings/go"
)

func init() { roles["load"] = load }

// load tells what becomes of loading the library, in every way that a program can meet it.
func load() error {
	err := replication.Load()
	if err == nil {
		fmt.Printf("loaded %s from %s\n", replication.LibraryPath(), mapped())
		return nil
	}
	s := replication.NewSender(nil)
	_, parsed := replication.ParseEntry([]byte("{}"))
	_, appended := s.Append(0, nil)
	for _, err := range []error{err, s.Start(nil), appended, parsed, replication.WriteAck(os.Stdout, &replication.ReplicateAck{})} {
		var detail *replication.LibraryError
		if !errors.Is(err, replication.ErrLibrary) || !errors.As(err, &detail) {
			return fmt.Errorf("another error: %w", err)
		}
	}
	if s.Stats()["running"] != false || s.ReaderCount() != 0 || s.Stop() != nil || s.Close() != nil {
		return errors.New("a sender without a library does not rest")
	}
	fmt.Println(err)
	return nil
}

// mapped is the file of the library that this process has in its memory, as the kernel tells.
func mapped() string {
	maps, _ := os.ReadFile("/proc/self/maps")
	for _, line := range strings.Split(string(maps), "\n") {
		if _, path, found := strings.Cut(line, "/"); found && strings.Contains(path, "libreplication") {
			return "/" + path
		}
	}
	return "nowhere"
}

// outcomeOfLoading is what a program says that finds a library named in REPLICATION_LIB and directories in the system's
// search, each if it is not "".
func outcomeOfLoading(t *testing.T, program, library, directories string) string {
	t.Helper()
	p := exec.Command(program)
	p.Env = append(os.Environ(), replication.EnvLibrary+"="+library, "LD_LIBRARY_PATH="+directories, roleVariable+"=load")
	p.Stderr = os.Stderr
	out, err := p.Output()
	must(t, err)
	return strings.TrimSpace(string(out))
}

// stub compiles a library.
func stub(t *testing.T, source string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "libstub.so")
	cc := os.Getenv("CC")
	if cc == "" {
		cc = "cc"
	}
	p := exec.Command(cc, "-shared", "-fPIC", "-w", "-x", "c", "-", "-o", path)
	p.Stdin = strings.NewReader(source)
	if out, err := p.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return path
}

// symbols are the names of the package's table.
func symbols(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("symbols.h")
	must(t, err)
	var names []string
	for _, match := range regexp.MustCompile(`(?m)^X\((\w+)\)$`).FindAllSubmatch(text, -1) {
		names = append(names, string(match[1]))
	}
	return names
}

func TestALibraryThatDoesNotFitIsRefused(t *testing.T) {
	var old strings.Builder
	for _, name := range symbols(t) {
		switch name {
		case "replication_abi_version":
			fmt.Fprintf(&old, "unsigned %s(void) { return %d; }\n", name, replication.ABIVersion)
		case "sender_wait_durable":
		default:
			fmt.Fprintf(&old, "void %s(void) {}\n", name)
		}
	}
	for name, test := range map[string]struct{ library, want string }{
		"missing":   {"/nowhere/libreplication.so", "cannot load REPLICATION_LIB=/nowhere/libreplication.so: "},
		"no object": {scenarioFile, "invalid ELF header"},
		"foreign":   {stub(t, "int zero;"), "is not libreplication: it has no replication_abi_version"},
		"other ABI": {stub(t, "unsigned replication_abi_version(void) { return 99; }"), "has ABI 99, this package needs ABI 2"},
		"old":       {stub(t, old.String()), "is too old: it lacks sender_wait_durable, this package needs libreplication 0.1.0 or newer"},
	} {
		if got := outcomeOfLoading(t, os.Args[0], test.library, ""); !strings.Contains(got, test.want) {
			t.Errorf("%s: %q does not say %q", name, got, test.want)
		}
	}
}

func copyFile(t *testing.T, from, to string, mode os.FileMode) {
	t.Helper()
	content, err := os.ReadFile(from)
	must(t, err)
	must(t, os.MkdirAll(filepath.Dir(to), 0o755))
	must(t, os.WriteFile(to, content, mode))
}

// What is looked for first is added last: it is what is loaded then.
func TestWhereTheLibraryIsFound(t *testing.T) {
	built, err := filepath.EvalSymlinks(os.Getenv(replication.EnvLibrary))
	must(t, err)
	dir, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	program := filepath.Join(dir, "bin", "program")
	copyFile(t, os.Args[0], program, 0o755)
	const soname = "libreplication.so.0.1"

	without := outcomeOfLoading(t, program, "", "")
	if !strings.HasPrefix(without, "loaded "+soname+" from ") && // installed in this system
		!strings.Contains(without, "set REPLICATION_LIB to its file") {
		t.Errorf("without a library: %q", without)
	}
	system := filepath.Join(dir, "system")
	copyFile(t, built, filepath.Join(system, soname), 0o644)
	want := "loaded " + soname + " from " + filepath.Join(system, soname)
	if got := outcomeOfLoading(t, program, "", system); got != want {
		t.Errorf("in the system's search: %q instead of %q", got, want)
	}
	for _, place := range []string{"lib", "bin"} {
		library := filepath.Join(dir, place, soname)
		copyFile(t, built, library, 0o644)
		want := "loaded " + library + " from " + library
		if got := outcomeOfLoading(t, program, "", system); got != want {
			t.Errorf("beside the program: %q instead of %q", got, want)
		}
	}
	named := filepath.Join(dir, "named.so")
	must(t, os.Symlink(built, named))
	if got := outcomeOfLoading(t, program, named, system); got != "loaded "+named+" from "+built {
		t.Errorf("named: %q", got)
	}
	missing := filepath.Join(dir, "missing.so")
	if got := outcomeOfLoading(t, program, missing, system); !strings.Contains(got, "cannot load REPLICATION_LIB="+missing+": ") {
		t.Errorf("named and missing: %q", got)
	}
}

func TestVersions(t *testing.T) {
	version, err := replication.Version()
	must(t, err)
	number, err := replication.VersionNumber()
	must(t, err)
	abi, err := replication.LoadedABIVersion()
	must(t, err)
	var major, minor, patch uint32
	if _, err := fmt.Sscanf(version, "%d.%d.%d", &major, &minor, &patch); err != nil || number != major*1000000+minor*1000+patch {
		t.Errorf("version %q, number %d", version, number)
	}
	if abi != replication.ABIVersion {
		t.Errorf("ABI %d", abi)
	}
}

// Everything that the library can do can be done in Go: each function of the table is called somewhere.
func TestEveryFunctionIsUsed(t *testing.T) {
	sources, err := filepath.Glob("*.[gc]*")
	must(t, err)
	var text strings.Builder
	for _, source := range append(sources, "library.h") {
		if strings.HasSuffix(source, "_test.go") {
			continue
		}
		content, err := os.ReadFile(source)
		must(t, err)
		text.Write(content)
	}
	names := symbols(t)
	if len(names) < 100 {
		t.Fatalf("%d functions", len(names))
	}
	for _, name := range names {
		if !strings.Contains(text.String(), "lr_"+name+"(") && !strings.Contains(text.String(), "lr_library."+name+"(") {
			t.Errorf("nothing calls %s", name)
		}
	}
}

// Everything that is exported has a comment.
func TestEverythingExportedIsDocumented(t *testing.T) {
	packages, err := parser.ParseDir(token.NewFileSet(), ".", func(f os.FileInfo) bool {
		return !strings.HasSuffix(f.Name(), "_test.go")
	}, parser.ParseComments)
	must(t, err)
	missing := func(name string, documented bool) {
		if ast.IsExported(name) && !documented {
			t.Errorf("%s has no comment", name)
		}
	}
	for _, file := range packages["replication"].Files {
		for _, declaration := range file.Decls {
			switch d := declaration.(type) {
			case *ast.FuncDecl:
				if d.Recv == nil || ast.IsExported(strings.TrimPrefix(receiverName(d), "*")) {
					missing(d.Name.Name, d.Doc != nil)
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					switch s := spec.(type) {
					case *ast.TypeSpec:
						missing(s.Name.Name, s.Doc != nil || d.Doc != nil)
					case *ast.ValueSpec:
						missing(s.Names[0].Name, s.Doc != nil || s.Comment != nil || d.Doc != nil && len(d.Specs) == 1)
					}
				}
			}
		}
	}
}

// receiverName is the type of a method.
func receiverName(method *ast.FuncDecl) string {
	switch r := method.Recv.List[0].Type.(type) {
	case *ast.StarExpr:
		return r.X.(*ast.Ident).Name
	case *ast.Ident:
		return r.Name
	}
	return ""
}
