package replication

import (
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// descriptor returns a descriptor of a connection for the library to own. A connection without a descriptor, such as
// tls.Conn and net.Pipe, gets a bridge. The connection is not touched until done is called.
func descriptor(conn net.Conn, bridges *bridges) (fd int, done func(taken bool), err error) {
	switch c := conn.(type) {
	case *net.TCPConn:
		fd, err = duplicate(c)
	case *net.UnixConn:
		fd, err = duplicate(c)
	default:
		return bridges.open(conn)
	}
	if err != nil {
		return -1, nil, err
	}
	return fd, func(taken bool) {
		if taken {
			conn.Close() // the library has its own descriptor now
		} else {
			syscall.Close(fd)
		}
	}, nil
}

func duplicate(conn syscall.Conn) (int, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return -1, err
	}
	fd := -1
	var errno syscall.Errno
	err = raw.Control(func(original uintptr) {
		// the syscall package has no wrapper that duplicates a descriptor
		r, _, e := syscall.Syscall(syscall.SYS_FCNTL, original, syscall.F_DUPFD_CLOEXEC, 0)
		fd, errno = int(r), e
	})
	if err == nil && errno != 0 {
		err = os.NewSyscallError("fcntl", errno)
	}
	if err != nil {
		return -1, err
	}
	return fd, nil
}

// bridges holds the connections that Go reads and writes for the library.
type bridges struct {
	writeTimeout time.Duration

	lock sync.Mutex
	live map[*bridge]struct{}
}

// A bridge is a connection and Go's end of a socket pair. The library owns the other end.
type bridge struct {
	remote net.Conn
	local  *net.UnixConn
	done   chan struct{}
}

// open creates a bridge to a connection. It starts when done is called with true.
func (b *bridges) open(conn net.Conn) (fd int, done func(taken bool), err error) {
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, nil, os.NewSyscallError("socketpair", err)
	}
	file := os.NewFile(uintptr(pair[1]), "bridge")
	defer file.Close()
	local, err := net.FileConn(file)
	if err != nil {
		syscall.Close(pair[0])
		return -1, nil, fmt.Errorf("bridge: %w", err)
	}
	opened := &bridge{remote: conn, local: local.(*net.UnixConn), done: make(chan struct{})}
	return pair[0], func(taken bool) {
		if !taken {
			opened.local.Close()
			syscall.Close(pair[0])
			return
		}
		conn.SetDeadline(time.Time{}) // clears the deadline that the host set for its own reads and writes
		b.lock.Lock()
		if b.live == nil {
			b.live = make(map[*bridge]struct{})
		}
		b.live[opened] = struct{}{}
		b.lock.Unlock()
		go b.carry(opened)
	}, nil
}

// carry copies in both directions. It ends when the library closes its end: because the peer closed or was silent for
// too long, or because the sender or receiver is stopped.
func (b *bridges) carry(bridge *bridge) {
	var inbound sync.WaitGroup
	inbound.Add(1)
	go func() {
		defer inbound.Done()
		copyStream(bridge.local, bridge.remote, 0)
		bridge.local.CloseWrite()
	}()
	copyStream(bridge.remote, bridge.local, b.writeTimeout)
	bridge.remote.Close()
	bridge.local.Close()
	inbound.Wait()

	b.lock.Lock()
	delete(b.live, bridge)
	b.lock.Unlock()
	close(bridge.done)
}

// copyStream copies until either side ends. It gives up if the peer accepts no bytes within the write timeout.
func copyStream(to, from net.Conn, writeTimeout time.Duration) {
	buffer := make([]byte, 64*1024)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			if writeTimeout > 0 {
				to.SetWriteDeadline(time.Now().Add(writeTimeout))
			}
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// finish waits until all bridges have ended. The library must have closed its ends. Data in flight has the write
// timeout to arrive.
func (b *bridges) finish() {
	b.lock.Lock()
	live := make([]*bridge, 0, len(b.live))
	for bridge := range b.live {
		live = append(live, bridge)
	}
	b.lock.Unlock()
	if len(live) == 0 {
		return
	}
	timeout := time.NewTimer(b.writeTimeout)
	defer timeout.Stop()
	for i, bridge := range live {
		select {
		case <-bridge.done:
			continue
		case <-timeout.C:
		}
		for _, late := range live[i:] {
			late.remote.Close()
			late.local.Close()
		}
		for _, late := range live[i:] {
			<-late.done
		}
		return
	}
}
