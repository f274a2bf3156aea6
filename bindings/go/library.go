package replication

/*
#cgo CFLAGS: -std=gnu11 -O2
#cgo LDFLAGS: -ldl -lpthread
#include "library.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"unsafe"
)

// EnvLibrary is the environment variable that names the library's file. If it is set, no other location is tried.
const EnvLibrary = "REPLICATION_LIB"

// ABIVersion is the ABI of the library that this package was written for.
const ABIVersion = uint32(C.REPLICATION_ABI_VERSION)

// soname is the name passed to the system's library search.
const soname = "libreplication.so.0.1"

// ErrLibrary is matched, with errors.Is, by every error from a library that is missing, too old or of another ABI.
var ErrLibrary = errors.New("the replication library cannot be used")

// A LibraryError explains why the library could not be loaded. It matches ErrLibrary.
type LibraryError struct {
	// Path is the file that was loaded, or the last one that was tried.
	Path string
	// Reason is a sentence for people.
	Reason string
}

// Error returns the error as a sentence.
func (e *LibraryError) Error() string { return "replication: " + e.Reason }

// Is makes errors.Is(err, ErrLibrary) true.
func (e *LibraryError) Is(target error) bool { return target == ErrLibrary }

var library struct {
	once sync.Once
	path string
	err  error
}

// Load loads the library, as the first use of this package otherwise does. It searches
//
//  1. the file that REPLICATION_LIB names, and then no other location;
//  2. the directory of the program, and the directory lib beside it;
//  3. libreplication.so.0.1 in the system's library search path.
//
// The result is kept: a program that failed to load the library cannot load it later.
func Load() error {
	library.once.Do(func() { library.path, library.err = find() })
	return library.err
}

// LibraryPath returns the file that was loaded, or "" if none was. It is only a name if the system's search found the
// file.
func LibraryPath() string {
	if Load() != nil {
		return ""
	}
	return library.path
}

// Version returns the loaded library's version, such as "0.1.0".
func Version() (string, error) {
	if err := Load(); err != nil {
		return "", err
	}
	return C.GoString(C.lr_replication_version()), nil
}

// VersionNumber returns the loaded library's version as a number: major * 1000000 + minor * 1000 + patch.
func VersionNumber() (uint32, error) {
	if err := Load(); err != nil {
		return 0, err
	}
	return uint32(C.lr_replication_version_number()), nil
}

// LoadedABIVersion returns the loaded library's ABI, which equals ABIVersion.
func LoadedABIVersion() (uint32, error) {
	if err := Load(); err != nil {
		return 0, err
	}
	return uint32(C.lr_replication_abi_version()), nil
}

func find() (string, error) {
	if path := os.Getenv(EnvLibrary); path != "" {
		return path, open(path, EnvLibrary+"="+path)
	}
	var tried []string
	if program, err := os.Executable(); err == nil {
		dir := filepath.Dir(program)
		for _, path := range []string{filepath.Join(dir, soname), filepath.Join(filepath.Dir(dir), "lib", soname)} {
			if _, err := os.Stat(path); err == nil {
				return path, open(path, path)
			}
			tried = append(tried, path)
		}
	}
	err := open(soname, soname)
	var missing *LibraryError
	if errors.As(err, &missing) && missing.missing() {
		missing.Reason += fmt.Sprintf("; it is not at %s either: install it, or set %s to its file",
			strings.Join(tried, " or "), EnvLibrary)
	}
	return soname, err
}

// missing reports whether the file does not exist, as far as dlopen reveals.
func (e *LibraryError) missing() bool {
	return strings.Contains(e.Reason, "cannot open shared object file")
}

// open loads a file; the parameter what names it in errors.
func open(path, what string) error {
	name, err := newCString(path)
	if err != nil {
		return &LibraryError{path, fmt.Sprintf("cannot load %q: the path has a zero byte", path)}
	}
	defer name.free()
	// dlerror's text belongs to the thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var text *C.char
	result := C.lr_open(name.pointer, &text)
	detail := C.GoString(text)
	C.free(unsafe.Pointer(text))
	switch result {
	case C.LR_OPENED:
		return nil
	case C.LR_NOT_LOADED:
		return &LibraryError{path, fmt.Sprintf("cannot load %s: %s", what, detail)}
	case C.LR_FOREIGN:
		return &LibraryError{path, what + " is not libreplication: it has no replication_abi_version"}
	case C.LR_OTHER_ABI:
		return &LibraryError{path, fmt.Sprintf("%s has ABI %s, this package needs ABI %d: use versions that belong together",
			what, detail, ABIVersion)}
	case C.LR_INCOMPLETE:
		return &LibraryError{path, fmt.Sprintf("%s is too old: it lacks %s, this package needs libreplication %d.%d.%d or newer",
			what, detail, C.REPLICATION_VERSION_MAJOR, C.REPLICATION_VERSION_MINOR, C.REPLICATION_VERSION_PATCH)}
	}
	return &LibraryError{path, "cannot load " + what}
}
