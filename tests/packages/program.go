// A program that calls the installed C library through cgo, with what pkg-config prints. It prints what program.c prints
// first: the version.
package main

// #cgo !static pkg-config: replication
// #cgo static pkg-config: --static replication
// #cgo static LDFLAGS: -static
// #include <replication.h>
import "C"

import (
	"fmt"
	"os"
)

func check(status C.replication_status) {
	if status != C.REPLICATION_STATUS_OK {
		fmt.Fprintln(os.Stderr, C.GoString(C.replication_status_name(C.int32_t(status))),
			C.GoString(C.replication_last_error_message()))
		os.Exit(1)
	}
}

func main() {
	fmt.Println("libreplication", C.GoString(C.replication_version()))
	var sender *C.replication_sender
	check(C.sender_new(nil, &sender))
	check(C.sender_start(sender))
	payload := []byte("insert")
	var sequence C.uint64_t
	check(C.sender_replicate(sender, 0, (*C.uint8_t)(&payload[0]), C.size_t(len(payload)), &sequence))
	fmt.Printf("%d: %s\n", sequence, payload)
	check(C.sender_stop(sender))
	C.sender_free(sender)
}
