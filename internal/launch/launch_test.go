package launch

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A host has accounts and the launcher that serves them, whose writers are goroutines.
type host struct {
	t    *testing.T
	path string

	mu      sync.Mutex
	started []Account
	end     chan struct{} // closed: writers end
	ready   string
	failure error
}

func newHost(t *testing.T, dir string) *host {
	h := &host{t: t, path: filepath.Join(dir, "launch.sock"), end: make(chan struct{}), ready: Ready}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: h.path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l := &Launcher{
		Users: []int{os.Getuid()}, MinUID: 1000, Log: slog.New(slog.DiscardHandler), Lookup: h.lookup, Start: h.start,
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error)
	go func() { served <- l.Serve(ctx, listener) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return h
}

func (h *host) lookup(name string) (Account, error) {
	a, ok := map[string]Account{
		"bob":   {Name: "bob", UID: 1000, GID: 100, Groups: []int{100, 7}, Home: "/home/bob"},
		"low":   {Name: "low", UID: 999, GID: 999, Home: "/x"},
		"toor":  {Name: "toor", UID: 0, GID: 5, Home: "/x"},
		"wheel": {Name: "wheel", UID: 1001, GID: 0, Home: "/x"},
		"too":   {Name: "too", UID: 1001, GID: 5, Groups: []int{5, 0}, Home: "/x"},
		"out":   {Name: "out", UID: 1001, GID: 5},
	}[name]
	if !ok {
		return a, errors.New("there is none")
	}
	return a, nil
}

// start has a writer say that it is ready, and then what it hears.
func (h *host) start(a Account, file *os.File) (func() error, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.failure != nil {
		return nil, h.failure
	}
	conn, err := net.FileConn(file)
	if err != nil {
		return nil, err
	}
	h.started = append(h.started, a)
	_, err = io.WriteString(conn, h.ready)
	go func() {
		defer conn.Close()
		_, _ = io.Copy(conn, conn)
	}()
	return func() error { <-h.end; return nil }, err
}

func TestLaunch(t *testing.T) {
	h := newHost(t, t.TempDir())
	conn, err := Dial(h.path, "bob")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "hello"); err != nil {
		t.Fatal(err)
	}
	back := make([]byte, 5)
	if _, err := io.ReadFull(conn, back); err != nil || string(back) != "hello" {
		t.Errorf("%q, %v", back, err)
	}
	if got := fmt.Sprint(h.started); got != "[{bob 1000 100 [100 7] /home/bob}]" {
		t.Errorf("started %s", got)
	}
}

// Nothing runs as root, nor as the system's own users, nor as nobody knows whom.
func TestRefusedAccounts(t *testing.T) {
	h := newHost(t, t.TempDir())
	for name, want := range map[string]string{
		"low":                   "the account low has the number 999, below 1000",
		"toor":                  "is root's, or in its group",
		"wheel":                 "is root's, or in its group",
		"too":                   "is root's, or in its group",
		"out":                   "has no home",
		"nobody-knows":          "the account nobody-knows: there is none",
		"":                      "not the name of an account",
		"-v":                    "not the name of an account",
		"../bob":                "not the name of an account",
		"bob\x00":               "not the name of an account",
		"b ob":                  "not the name of an account",
		strings.Repeat("b", 65): "hung up",
	} {
		conn, err := Dial(h.path, name)
		if err == nil {
			_ = conn.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", name, err, want)
		}
	}
	if len(h.started) > 0 {
		t.Errorf("started %v", h.started)
	}
}

// The launcher reads its line and not an octet more: the rest is the writer's.
func TestTheRestIsTheWriters(t *testing.T) {
	h := newHost(t, t.TempDir())
	conn, err := net.Dial("unix", h.path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "bob\nrest"); err != nil {
		t.Fatal(err)
	}
	want := Ready + "rest"
	back := make([]byte, len(want))
	if _, err := io.ReadFull(conn, back); err != nil || string(back) != want {
		t.Errorf("%q, %v", back, err)
	}
}

// There are never more writers than may be, and there may be more when one has ended.
func TestMaxWriters(t *testing.T) {
	h := newHost(t, t.TempDir())
	for range MaxWriters {
		conn, err := Dial(h.path, "bob")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	if _, err := Dial(h.path, "bob"); err == nil || !strings.Contains(err.Error(), "are busy") {
		t.Error(err)
	}
	close(h.end)
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		conn, err := Dial(h.path, "bob")
		if err == nil {
			_ = conn.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

func TestDialErrors(t *testing.T) {
	dir := t.TempDir()
	if _, err := Dial(filepath.Join(dir, "launch.sock"), "bob"); err == nil || !strings.Contains(err.Error(), "does postern launch run?") {
		t.Error(err)
	}
	h := newHost(t, dir)
	h.failure = errors.New("no such program")
	if _, err := Dial(h.path, "bob"); err == nil || !strings.Contains(err.Error(), "start a writer for the account bob: no such program") {
		t.Error(err)
	}
	h.failure, h.ready = nil, "ready 99\n"
	if _, err := Dial(h.path, "bob"); err == nil || !strings.Contains(err.Error(), "of another version") {
		t.Error(err)
	}
	h.ready = "writer: will not run as root\n"
	if _, err := Dial(h.path, "bob"); err == nil || !strings.Contains(err.Error(), "will not run as root") {
		t.Error(err)
	}
}

// The accounts of the host itself.
func TestLookup(t *testing.T) {
	a, err := Lookup("root")
	if err != nil || a.UID != 0 || a.Allowed(0) == nil {
		t.Errorf("%+v, %v", a, err)
	}
	if _, err := Lookup("no-such-user-here"); err == nil {
		t.Error("found")
	}
}

func FuzzReadLine(f *testing.F) {
	f.Add("bob\nrest")
	f.Add(strings.Repeat("x", 70))
	f.Fuzz(func(t *testing.T, text string) {
		r := strings.NewReader(text)
		line, err := readLine(r, maxName)
		before, after, ends := strings.Cut(text, "\n")
		if ends = ends && len(before) <= maxName; ends != (err == nil) {
			t.Fatalf("%q: %v", text, err)
		}
		if rest, _ := io.ReadAll(r); ends && (line != before || string(rest) != after) {
			t.Errorf("%q and %q", line, rest)
		}
	})
}

// Mail is handed to a launcher of root's or of our own, and to nobody who happens to
// listen there.
func TestSomebodyElsesLauncher(t *testing.T) {
	if path := os.Getenv("LISTEN_AS_ANOTHER"); path != "" {
		listener, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println("listening")
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, Ready)
			_ = conn.Close()
		}
	}
	if os.Getuid() != 0 {
		t.Fatal("run this as root, as contrib/check does: only root becomes other users")
	}
	dir, err := os.MkdirTemp("", "launch-test-") // that of t is for us alone
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "launch.sock")
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestSomebodyElsesLauncher$")
	cmd.Env = []string{"LISTEN_AS_ANOTHER=" + path}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "listening\n" {
		t.Fatalf("%q, %v", line, err)
	}
	conn, err := Dial(path, "bob")
	if err == nil {
		_ = conn.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "the user 65534, and neither root nor this one") {
		t.Error(err)
	}
}
