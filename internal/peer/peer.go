// Package peer starts the programs that Postern meets in the world, on
// loopback, for end-to-end tests: Postfix and Exim as senders, Dovecot as an
// LMTP server and as the reader of our mailboxes, swaks, strace, and any program
// that a test wants to start, wait for and kill. It also makes the mail they
// carry (Generator), sends it from many connections at once (Load), and finds
// out what became of it (Census).
//
// Nothing here touches the configuration of the system: every peer has its own
// folders under Dir, its own ports, and is ended with the test that started
// it. Most need root, because the real ones change their user. A test whose
// peer is missing fails and says so; it never skips, for a test that does not
// run proves nothing.
//
// The package is for tests only and imports nothing of Postern, so that no
// mistake of ours is on both sides of a comparison.
package peer

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// Vmail is the numeric user and group that own the mailboxes unless a test
// asks for others. No account of that number needs to exist.
const Vmail = 5000

// Need fails the test unless every program is in PATH or is an executable
// file, and returns their paths.
func Need(t testing.TB, programs ...string) []string {
	t.Helper()
	paths := make([]string, len(programs))
	for i, name := range programs {
		path, err := lookPath(name)
		if err != nil {
			t.Fatalf("peer: %s is missing: contrib/check installs what the tests need (%v)", name, err)
		}
		paths[i] = path
	}
	return paths
}

// lookPath is exec.LookPath that also knows the folders of system programs,
// which an ordinary user's PATH lacks.
func lookPath(name string) (string, error) {
	path, err := exec.LookPath(name)
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if err == nil {
			break
		}
		path, err = exec.LookPath(filepath.Join(dir, name))
	}
	if err != nil {
		return "", fmt.Errorf("find %s: %w", name, err)
	}
	return path, nil
}

// NeedRoot fails the test unless it runs as root.
func NeedRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("peer: this test starts daemons that change their user: run it as root, as contrib/check does")
	}
}

// Dir makes a folder that lives as long as the test. Unlike t.TempDir it is
// open to other users' processes, and its path is short enough for the name of
// a UNIX socket (108 octets, unix(7)) whatever the test is called.
func Dir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "peer-")
	if err != nil {
		t.Fatalf("peer: %v", err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("peer: %v", err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatalf("peer: %v", err)
	}
	return dir
}

// Addr returns a loopback address, host:port, that nothing listens on and that
// no other test is given before this one has ended, in this process or another
// one. Its port is below those that the kernel gives to outgoing connections, so
// that a server which is killed and started again under load finds it still free.
func Addr(t testing.TB) string {
	t.Helper()
	const low, high = 10000, 32000
	for range 100 {
		port := low + rand.IntN(high-low)
		if !reserve(t, port) {
			continue
		}
		addr := fmt.Sprintf("127.0.0.1:%d", port)
		l, err := net.Listen("tcp", addr)
		if err != nil {
			continue
		}
		l.Close()
		return addr
	}
	t.Fatalf("peer: no free port between %d and %d", low, high)
	return ""
}

// reserve takes a port for the time of the test, if no other test has it. The
// packages are tested side by side, and between Addr and the start of the server
// nothing else would keep two of them from the same port.
func reserve(t testing.TB, port int) bool {
	dir := filepath.Join(os.TempDir(), "peer-ports")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatalf("peer: %v", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, strconv.Itoa(port)), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatalf("peer: %v", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return false
	}
	t.Cleanup(func() { f.Close() }) // and with it the lock
	return true
}

// splitAddr returns the host and the port of an address that Addr made.
func splitAddr(addr string) (host, port string) {
	i := strings.LastIndexByte(addr, ':')
	return addr[:i], addr[i+1:]
}

// write makes the file dir/name, for all to read.
func write(t testing.TB, dir, name, content string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatalf("peer: %v", err)
	}
	return path
}

// mkdir makes the folder dir/name, owned by uid.
func mkdir(t testing.TB, uid int, elem ...string) string {
	t.Helper()
	path := filepath.Join(elem...)
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatalf("peer: %v", err)
	}
	if err := os.Chown(path, uid, -1); err != nil {
		t.Fatalf("peer: %v", err)
	}
	return path
}
