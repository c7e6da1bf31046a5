package lmtp_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/dialogue"
	"postern/lmtp"
	"postern/mail"
)

// serveUnix has srv serve on a UNIX socket until the test ends, and returns its
// path. It trusts us.
func serveUnix(t *testing.T, srv *lmtp.Server) string {
	t.Helper()
	if srv.Trusts == nil {
		srv.Trusts = lmtp.TrustUsers()
	}
	path := filepath.Join(t.TempDir(), "lmtp.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- srv.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return path
}

// told is an envelope with all that our MX tells.
func told(to ...string) *mail.Envelope {
	env := envelope(to...)
	env.ID = "06gzkp4bxf3t6mvq"
	env.Digest = mail.Digest{1, 2, 3}
	env.Generation = "generation 7"
	env.Client = mail.Client{
		IP: netip.MustParseAddr("192.0.2.1"), Hello: "client.example (really)", ESMTP: true, TLS: "TLSv1.3 TLS_AES_128_GCM_SHA256",
	}
	env.To[0].Known = true
	return env
}

// Over a UNIX socket our delivery agent hears from our MX what no header can
// carry, with the message and before it.
func TestToldToOurs(t *testing.T) {
	var verified mail.Envelope
	next := &answers{}
	srv := newServer(spying{next, &verified})
	srv.Received = true
	client := &lmtp.Client{Hostname: "mx.example", Dial: lmtp.Dialer("unix", serveUnix(t, srv))}
	defer client.Close()
	env := told("bob", "joe")
	for _, r := range client.Deliver(t.Context(), env, message("Subject: x\r\n\r\nx\r\n")) {
		if !r.OK() {
			t.Error(r)
		}
	}
	got := next.last()
	if got.env.ID != env.ID || got.env.Digest != env.Digest || got.env.Generation != env.Generation || got.env.Client != env.Client {
		t.Errorf("heard %+v\n told %+v", got.env, env)
	}
	if !got.env.To[0].Known || got.env.To[1].Known {
		t.Errorf("known: %+v", got.env.To)
	}
	if !strings.HasPrefix(got.text, "Received: from mx.example\r\n\tby mda.example with LMTP\r\n\tid "+env.ID+";") {
		t.Errorf("the trace does not say who came to us:\n%s", got.text)
	}
	env.Digest = mail.Digest{} // at RCPT it is not known
	if err := client.Verify(t.Context(), env, env.To[0]); err != nil {
		t.Error(err)
	}
	if verified.ID != env.ID || verified.Client != env.Client || verified.Generation != env.Generation {
		t.Errorf("at RCPT heard %+v", verified)
	}
}

// spying remembers the envelope of the last Verify.
type spying struct {
	mail.Deliverer
	env *mail.Envelope
}

func (s spying) Verify(ctx context.Context, env *mail.Envelope, rcpt mail.Recipient) error {
	*s.env = *env
	return s.Deliverer.Verify(ctx, env, rcpt)
}

// To a server that does not offer our extension nothing of it is said.
func TestForeignServerHearsNothing(t *testing.T) {
	here, there := pipe()
	client := &lmtp.Client{Hostname: "mx.example", Dial: func(context.Context) (net.Conn, error) { return here, nil }}
	done := make(chan struct{})
	go func() {
		defer close(done)
		dialogue.Serve(failing{t}, there, `
			S: 220 foreign.example LMTP
			C: LHLO mx.example
			S: 250-foreign.example
			S: 250-PIPELINING
			S: 250 SIZE
			C: MAIL FROM:<ann@client.example> SIZE=3
			C: RCPT TO:<bob@mda.example>
			C: DATA
			S: 250 OK
			S: 250 OK
			S: 354 go on
			C: x
			C: .
			S: 250 OK
			C: QUIT
			S: 221 bye
			S.`)
	}()
	env := told("bob")
	if r := client.Deliver(t.Context(), env, message("x\r\n")); !r[0].OK() {
		t.Error(r)
	}
	client.Heard(env.ID)
	client.Close()
	<-done
}

// failing lets a goroutine end with the test that it belongs to.
type failing struct{ testing.TB }

func (f failing) Fatalf(format string, args ...any) {
	f.Errorf(format, args...)
	runtime.Goexit()
}

// dialAs connects as another user.
func dialAs(t *testing.T, uid int, path string) (net.Conn, error) {
	t.Helper()
	if syscall.Geteuid() != 0 {
		t.Fatal("run this as root, as contrib/check does: only root can be another user")
	}
	type result struct {
		nc  net.Conn
		err error
	}
	dialed := make(chan result)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends with the goroutine
		if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)); errno != 0 {
			dialed <- result{nil, errno}
			return
		}
		nc, err := net.Dial("unix", path)
		dialed <- result{nc, err}
	}()
	r := <-dialed
	return r.nc, r.err
}

// The kernel says who is ours, and nobody else does.
func TestWhoIsOurs(t *testing.T) {
	const stranger, ours = 5001, 5002
	for _, tt := range []struct {
		uid     int
		offered bool
	}{{0, true}, {ours, true}, {stranger, false}} {
		srv := newServer(&answers{})
		srv.Trusts = lmtp.TrustUsers(ours)
		srv.Heard = func(id string) {
			if !tt.offered {
				t.Errorf("user %d was believed about %s", tt.uid, id)
			}
		}
		path := serveUnix(t, srv)
		for p := filepath.Dir(path); p != "/tmp" && p != "/"; p = filepath.Dir(p) {
			_ = syscall.Chmod(p, 0o755)
		}
		if err := syscall.Chmod(path, 0o666); err != nil {
			t.Fatal(err)
		}
		nc, err := dialAs(t, tt.uid, path)
		if err != nil {
			t.Fatal(err)
		}
		says := ask(t, nc, "LHLO x", "XHEARD 0", "MAIL FROM:<> XID=0 XADDR=192.0.2.1", "QUIT")
		if got := strings.Contains(says, "250 XPOSTERN "); got != tt.offered {
			t.Errorf("user %d: offered is %v:\n%s", tt.uid, got, says)
		}
		if !tt.offered && (!strings.Contains(says, "500 5.5.2") || !strings.Contains(says, "555 5.5.4")) {
			t.Errorf("user %d is answered:\n%s", tt.uid, says)
		}
	}
}

func TestNotOursOverTCP(t *testing.T) {
	srv := newServer(&answers{})
	srv.Trusts = lmtp.TrustUsers()
	srv.Networks = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- srv.Serve(ctx, l) }()
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if says := ask(t, nc, "LHLO x", "QUIT"); strings.Contains(says, "XPOSTERN") || !strings.Contains(says, "221") {
		t.Error(says)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// ask says lines at once, and returns all that is answered.
func ask(t *testing.T, nc net.Conn, lines ...string) string {
	t.Helper()
	defer nc.Close()
	if _, err := io.WriteString(nc, strings.Join(lines, "\r\n")+"\r\n"); err != nil {
		t.Fatal(err)
	}
	_ = nc.SetReadDeadline(time.Now().Add(10 * time.Second))
	answer, err := io.ReadAll(bufio.NewReader(nc))
	if err != nil {
		t.Fatal(err)
	}
	return string(answer)
}

// next returns what was heard next.
func next(t *testing.T, heard <-chan string) string {
	t.Helper()
	select {
	case id := <-heard:
		return id
	case <-time.After(20 * time.Second):
		t.Fatal("nothing more is heard")
		return ""
	}
}

// What clients have heard is told with what is said next, before it; and if
// nothing is said, after a while or when the client closes.
func TestHeardIsTold(t *testing.T) {
	heard := make(chan string, 10)
	srv := newServer(&answers{hook: func(context.Context) { heard <- "delivery" }})
	srv.Heard = func(id string) { heard <- id }
	client := &lmtp.Client{Hostname: "mx.example", Dial: lmtp.Dialer("unix", serveUnix(t, srv))}
	expect := func(want ...string) {
		t.Helper()
		for _, w := range want {
			if got := next(t, heard); got != w {
				t.Fatalf("heard %q, want %q", got, w)
			}
		}
	}
	deliver := func() {
		t.Helper()
		if r := client.Deliver(t.Context(), told("bob"), message("x\r\n")); !r[0].OK() {
			t.Fatal(r)
		}
	}
	deliver()
	expect("delivery")
	client.Heard("a1")
	client.Heard("a2")
	client.Heard("not an ID")
	deliver()
	expect("a1", "a2", "delivery")
	client.Heard("b")
	expect("b")
	client.Heard("c")
	client.Close()
	expect("c")
}

// A client that takes its time shows by its next command that it heard the replies,
// too: the session is at rest by then.
func TestHeardAtRest(t *testing.T) {
	heard := make(chan string, 1)
	srv := newServer(&answers{})
	srv.Heard = func(id string) { heard <- id }
	nc, err := net.Dial("unix", serveUnix(t, srv))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	dialogue.Play(t, nc, `
		S: 220 *
		C: LHLO client.example
		S: ...
		S: 250 *
		C: MAIL FROM:<>
		S: 250 *
		C: RCPT TO:<bob@example.org>
		S: 250 *
		C: DATA
		S: 354 *
		C: a: b
		C: .
		S: 250 *
		WAIT 100ms
		C: NOOP
		S: 250 *
		`)
	select {
	case <-heard:
	default:
		t.Error("NOOP did not show that the reply was heard")
	}
}

// More than fit a line are told all the same.
func TestHeardMany(t *testing.T) {
	heard := make(chan string, 1000)
	srv := newServer(&answers{})
	srv.Heard = func(id string) { heard <- id }
	client := &lmtp.Client{Hostname: "mx.example", Dial: lmtp.Dialer("unix", serveUnix(t, srv))}
	if _, err := client.Offer(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range 250 {
		client.Heard(fmt.Sprintf("%016d", i))
	}
	client.Close()
	for i := range 250 {
		if got, want := next(t, heard), fmt.Sprintf("%016d", i); got != want {
			t.Fatalf("heard %s, want %s", got, want)
		}
	}
}

// A next hop that is away is told later.
func TestHeardLater(t *testing.T) {
	heard := make(chan string, 10)
	srv := newServer(&answers{})
	srv.Heard = func(id string) { heard <- id }
	path := serveUnix(t, srv)
	away := false
	client := &lmtp.Client{Hostname: "mx.example", Dial: func(ctx context.Context) (net.Conn, error) {
		if away {
			return nil, syscall.ECONNREFUSED
		}
		nc, err := net.Dial("unix", path)
		if err != nil {
			return nil, err
		}
		return &cut{Conn: nc, when: &away}, nil
	}}
	if _, err := client.Offer(t.Context()); err != nil {
		t.Fatal(err)
	}
	away = true
	client.Heard("a")
	if err := client.Verify(t.Context(), told("bob"), told("bob").To[0]); err == nil {
		t.Error("verified by nobody")
	}
	away = false
	if err := client.Verify(t.Context(), told("bob"), told("bob").To[0]); err != nil {
		t.Error(err)
	}
	if got := next(t, heard); got != "a" {
		t.Errorf("heard %q", got)
	}
	client.Close()
}

// A cut connection says nothing any more.
type cut struct {
	net.Conn
	when *bool
}

func (c *cut) Write(p []byte) (int, error) {
	if *c.when {
		return 0, syscall.EPIPE
	}
	return c.Conn.Write(p)
}

// A client of somebody else shows by its next command that it heard the replies,
// unless it sent that before they were written.
func TestHeardByForeignClient(t *testing.T) {
	message := `
		C: MAIL FROM:<ann@mta.example>
		C: RCPT TO:<bob@mda.example>
		C: DATA
		S: 250 2.1.0 *
		S: 250 2.1.5 *
		S: 354 *
		C: x
		C: .
	`
	tests := []struct {
		name, script string
		want         int
	}{
		{"says no more", message + "S: 250 *\nC.", 0},
		{"says something later", message + "S: 250 *\nC: QUIT\nS: 221 2.0.0 mda.example *\nS.", 1},
		{"said it before", message + "C: QUIT\nS: 250 *\nS: 221 2.0.0 mda.example *\nS.", 0},
		{"said it before, and waits for 354", message + `
			C: MAIL FROM:<ann@mta.example>
			C: RCPT TO:<bob@mda.example>
			C: DATA
			S: 250 *
			S: 250 2.1.0 *
			S: 250 2.1.5 *
			S: 354 *
			C: y
			C: .
			S: 250 *
			C.`, 1},
		{"two messages", message + "S: 250 *\n" + message + "S: 250 *\nC: NOOP\nS: 250 *\nC.", 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				next := &answers{}
				srv := newServer(next)
				var heard []string
				srv.Heard = func(id string) { heard = append(heard, id) }
				l := serve(t, srv)
				nc, err := l.Dial(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				dialogue.Play(t, nc, lhlo+tt.script)
				nc.Close()
				synctest.Wait()
				if len(heard) != tt.want {
					t.Fatalf("heard %v, want %d", heard, tt.want)
				}
				if tt.want > 0 && heard[0] != next.delivered[0].env.ID {
					t.Errorf("heard %v, delivered %v", heard, next.delivered[0].env.ID)
				}
			})
		})
	}
}
