package writer

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"postern/mailbox"
)

func TestDelivery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := &fakeBox{warn: 80}
		w := newWriters(t, box)
		defer w.close()
		var warned []int
		settings := Settings{Path: "/home/bob/Maildir", Quota: 5, Warn: []int{80}, Detail: "x", Folder: "Junk", MboxLocks: []string{"fcntl"}, Confine: true}
		m := &Mailbox{Pool: w.Pool, Account: "bob", Settings: settings, Warned: func(percent int, u mailbox.Usage) {
			warned = append(warned, percent, int(u.Octets))
		}}
		long := strings.Repeat("0123456789\r\n", 20_000)
		for _, text := range []string{"a: b\r\n\r\nc\r\n", "", long} {
			if err := deliver(m, text); err != nil {
				t.Fatal(err)
			}
			if got := box.committed[len(box.committed)-1]; got != text {
				t.Errorf("%d octets became %d", len(text), len(got))
			}
		}
		if err := m.Room(10); err != nil {
			t.Error(err)
		}
		if fmt.Sprint(warned) != "[80 7 80 7 80 7]" {
			t.Errorf("warned %v", warned)
		}
		if fmt.Sprint(box.settings) != fmt.Sprint(settings) {
			t.Errorf("settings %v", box.settings)
		}
		if box.last.Sender != "ann@example.org" || !box.last.Time.Equal(time.Unix(1e9, 0)) {
			t.Errorf("%+v", box.last)
		}
		if w.started != 1 || box.open != 0 {
			t.Errorf("%d writers, %d deliveries are open", w.started, box.open)
		}
	})
}

// What goes wrong at the writer's end is the same error at the agent's, and no
// message is there by it.
func TestErrorsKeepTheirMeaning(t *testing.T) {
	for _, step := range []string{"open", "begin", "write", "sync", "commit"} {
		for _, want := range []error{
			fmt.Errorf("quota of x: %w", mailbox.ErrOverQuota), &fs.PathError{Op: "open", Path: "/x", Err: syscall.ENOSPC},
			syscall.EDQUOT, fmt.Errorf("x: %w", syscall.EACCES), errors.New("any other"),
		} {
			synctest.Test(t, func(t *testing.T) {
				box := &fakeBox{fail: step, err: want}
				w := newWriters(t, box)
				defer w.close()
				m := &Mailbox{Pool: w.Pool, Account: "bob"}
				err := deliver(m, "text")
				if err == nil || !strings.Contains(err.Error(), want.Error()) || len(box.committed) > 0 {
					t.Errorf("%v at %s: %v", want, step, err)
				}
				for _, kind := range []error{mailbox.ErrOverQuota, syscall.ENOSPC, syscall.EDQUOT, syscall.EACCES, fs.ErrPermission} {
					if errors.Is(err, kind) != errors.Is(want, kind) {
						t.Errorf("%v at %s is %v: %v", want, step, kind, errors.Is(err, kind))
					}
				}
				if errors.Is(err, errAtCommit) != (step == "commit") {
					t.Errorf("%v at %s came late or early: %v", want, step, err)
				}
				box.fail = ""
				if err := deliver(m, "text"); err != nil || len(box.committed) != 1 {
					t.Errorf("the next one: %v", err)
				}
				if again := errors.Is(want, mailbox.ErrOverQuota); (w.started == 1) != again {
					t.Errorf("%d writers after %v", w.started, want)
				}
			})
		}
	}
}

func TestRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := &fakeBox{fail: "room", err: mailbox.ErrOverQuota}
		w := newWriters(t, box)
		defer w.close()
		if err := (&Mailbox{Pool: w.Pool, Account: "bob"}).Room(1); !errors.Is(err, mailbox.ErrOverQuota) {
			t.Error(err)
		}
	})
}

func TestPanicIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := &fakeBox{fail: "panic"}
		w := newWriters(t, box)
		defer w.close()
		if err := deliver(&Mailbox{Pool: w.Pool, Account: "bob"}, "x"); err == nil || !strings.Contains(err.Error(), "panic: at sync") {
			t.Error(err)
		}
		if box.open != 0 {
			t.Error("the delivery is open")
		}
	})
}

// Without an answer to its commit a message is not delivered, whatever became of it:
// the writer may have died before as after.
func TestNoAnswerIsAFailure(t *testing.T) {
	for _, before := range []byte{frameBegin, frameSync, frameCommit} {
		for _, used := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				ends := false
				p := &Pool{Dial: func(string) (net.Conn, error) {
					ours, theirs := net.Pipe()
					go answerUntil(theirs, func(kind byte) bool { return ends && kind == before })
					return ours, nil
				}}
				m := &Mailbox{Pool: p, Account: "bob"}
				if used {
					if err := deliver(m, "x"); err != nil {
						t.Fatal(err)
					}
				}
				ends = true
				if err := deliver(m, "x"); err == nil || !strings.Contains(err.Error(), "no answer") {
					t.Errorf("ends at %c: %v", before, err)
				}
				ends = false
				if err := deliver(m, "x"); err != nil {
					t.Error(err)
				}
				p.Close()
				synctest.Wait()
			})
		}
	}
}

// answerUntil answers with ok, until ends reports that it is to hang up.
func answerUntil(conn net.Conn, ends func(kind byte) bool) {
	defer conn.Close()
	r, buf := bufio.NewReader(conn), make([]byte, maxFrame)
	for {
		kind, _, err := readFrame(r, buf)
		if err != nil || ends(kind) {
			return
		}
		if kind != frameData && kind != frameAbort {
			if writeFrame(conn, frameOK, []byte("{}")) != nil {
				return
			}
		}
	}
}

// A writer that hangs costs the delivery some time, and not the agent.
func TestSilentWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var theirs net.Conn
		p := &Pool{Dial: func(string) (net.Conn, error) {
			ours, other := net.Pipe()
			theirs = other
			go func() { _, _ = readAll(other) }()
			return ours, nil
		}}
		start := time.Now()
		if err := deliver(&Mailbox{Pool: p, Account: "bob"}, "x"); err == nil {
			t.Error("delivered")
		}
		if took := time.Since(start); took != answerTime {
			t.Errorf("after %v", took)
		}
		_ = theirs.Close()
	})
}

func readAll(conn net.Conn) (int, error) {
	buf := make([]byte, 100)
	for {
		if _, err := conn.Read(buf); err != nil {
			return 0, err
		}
	}
}

// Connections are kept for a while, for the same mailbox alone.
func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := &fakeBox{}
		w := newWriters(t, box)
		defer w.close()
		bob, ann := &Mailbox{Pool: w.Pool, Account: "bob"}, &Mailbox{Pool: w.Pool, Account: "ann"}
		other := &Mailbox{Pool: w.Pool, Account: "bob", Settings: Settings{Path: "/x"}}
		want := func(n int) {
			t.Helper()
			if w.started != n {
				t.Errorf("%d writers, want %d", w.started, n)
			}
		}
		for _, m := range []*Mailbox{bob, ann, other, bob, ann, other} {
			if err := deliver(m, "x"); err != nil {
				t.Fatal(err)
			}
		}
		want(3)
		time.Sleep(idleFor + time.Second)
		synctest.Wait()
		if len(w.idle) != 0 {
			t.Errorf("%d are idle for ever", len(w.idle))
		}
		if err := deliver(bob, "x"); err != nil {
			t.Fatal(err)
		}
		want(4)
		_ = w.conns[3].Close() // it dies while nobody looks
		if err := deliver(bob, "x"); err != nil {
			t.Fatal(err)
		}
		want(5)
		for i := range maxIdle + 5 {
			if err := deliver(&Mailbox{Pool: w.Pool, Account: fmt.Sprint("a", i)}, "x"); err != nil {
				t.Fatal(err)
			}
		}
		if len(w.idle) != maxIdle {
			t.Errorf("%d are idle", len(w.idle))
		}
	})
}

// One account has some of the writers, and not all; what is aborted gives its place
// back.
func TestPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := &fakeBox{}
		w := newWriters(t, box)
		defer w.close()
		begin := func(account string) (mailbox.Delivery, error) {
			return (&Mailbox{Pool: w.Pool, Account: account}).Begin(mailbox.Arrival{})
		}
		var held []mailbox.Delivery
		hold := func(account string) {
			t.Helper()
			d, err := begin(account)
			if err != nil {
				t.Fatal(err)
			}
			held = append(held, d)
		}
		for range maxPerAccount {
			hold("bob")
		}
		if _, err := begin("bob"); err == nil {
			t.Error("more than maxPerAccount")
		}
		for i := range maxBusy - maxPerAccount {
			hold(fmt.Sprint("a", i))
		}
		if _, err := begin("ann"); err == nil {
			t.Error("more than maxBusy")
		}
		go func() {
			time.Sleep(waitBusy / 2)
			held[0].Abort()
		}()
		hold("ann")
		for _, d := range held {
			d.Abort()
			d.Abort()
		}
		synctest.Wait()
		if box.open != 0 || len(box.committed) != 0 {
			t.Errorf("%d open, %d committed", box.open, len(box.committed))
		}
	})
}

// What is done out of order is an error, and no message.
func TestOutOfOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := &fakeBox{}
		w := newWriters(t, box)
		defer w.close()
		for i, f := range []func(d mailbox.Delivery) error{
			mailbox.Delivery.Commit,
			func(d mailbox.Delivery) error { _ = d.Sync(); return d.Sync() },
			func(d mailbox.Delivery) error { _ = d.Sync(); _, err := d.Write(nil); return err },
			func(d mailbox.Delivery) error { d.Abort(); return d.Sync() },
			func(d mailbox.Delivery) error { _ = d.Sync(); d.Abort(); return d.Commit() },
			func(d mailbox.Delivery) error { _, _ = d.Write(nil); _ = d.Commit(); return d.Sync() },
		} {
			d, err := (&Mailbox{Pool: w.Pool, Account: "bob"}).Begin(mailbox.Arrival{})
			if err != nil {
				t.Fatal(err)
			}
			if f(d) == nil {
				t.Errorf("%d: no error", i)
			}
			d.Abort()
		}
		if len(box.committed) != 0 {
			t.Errorf("committed: %q", box.committed)
		}
	})
}

// A writer that is told to end does so between deliveries, and not within one.
func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := &fakeBox{}
		w := newWriters(t, box)
		m := &Mailbox{Pool: w.Pool, Account: "bob"}
		if err := deliver(m, "x"); err != nil {
			t.Fatal(err)
		}
		d, err := m.Begin(mailbox.Arrival{})
		if err != nil {
			t.Fatal(err)
		}
		w.stop()
		synctest.Wait()
		if err := errors.Join(d.Sync(), d.Commit()); err != nil {
			t.Errorf("a delivery under way: %v", err)
		}
		w.served.Wait() // and then, by itself
		if len(box.committed) != 2 {
			t.Errorf("committed %q", box.committed)
		}
		w.close()
	})
}

// A connection on which more was said than was asked for is not used again: that
// would be taken for the next answer.
func TestAnswersNobodyAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dialed := 0
		p := &Pool{Dial: func(string) (net.Conn, error) {
			dialed++
			ours, theirs := net.Pipe()
			go func() {
				defer theirs.Close()
				r, buf := bufio.NewReader(theirs), make([]byte, maxFrame)
				for {
					kind, _, err := readFrame(r, buf)
					if err != nil {
						return
					}
					if kind == frameData {
						continue
					}
					var twice bytes.Buffer
					_ = writeFrame(&twice, frameOK, []byte("{}"))
					if kind == frameCommit {
						_ = writeFrame(&twice, frameOK, []byte("{}"))
					}
					if _, err := theirs.Write(twice.Bytes()); err != nil {
						return
					}
				}
			}()
			return ours, nil
		}}
		m := &Mailbox{Pool: p, Account: "bob"}
		for range 2 {
			if err := deliver(m, "x"); err != nil {
				t.Fatal(err)
			}
		}
		if dialed != 2 {
			t.Errorf("dialed %d times", dialed)
		}
		synctest.Wait()
	})
}

// A frame that is cut off is no end between two.
func TestCutFrame(t *testing.T) {
	var whole bytes.Buffer
	if err := writeFrame(&whole, frameBegin, []byte("{}")); err != nil {
		t.Fatal(err)
	}
	for n := range whole.Len() {
		want := io.ErrUnexpectedEOF
		if n == 0 {
			want = io.EOF
		}
		cut := bytes.NewReader(whole.Bytes()[:n])
		if _, _, err := readFrame(bufio.NewReader(cut), make([]byte, maxFrame)); err != want {
			t.Errorf("%d octets: %v, want %v", n, err, want)
		}
	}
}
