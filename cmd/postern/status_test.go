package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"postern/internal/peer"
	"postern/mail"
)

func statusOf(t *testing.T, s *site) (all []Status) {
	t.Helper()
	out, err := s.command("status", "--json").Output()
	must(t, err)
	for line := range bytes.Lines(out) {
		var st Status
		must(t, json.Unmarshal(line, &st))
		all = append(all, st)
	}
	return all
}

// Each server says who it is, where mail goes, and whom it refused last and why.
func TestStatus(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.start("mda")
	s.start("mx")
	for _, to := range []string{"u1", "old", "nobody"} {
		peer.Swaks(t, "--server", s.smtp, "--to", to+"@example.com", "--from", "a@b.example", "--helo", "b.example")
	}
	all := statusOf(t, s)
	if len(all) != 2 || all[0].Server != "mx" || all[1].Server != "mda" || !all[0].Confined {
		t.Fatalf("status: %+v", all)
	}
	mx, mda := all[0], all[1]
	if p := mda.Places; len(p) != 1 || p[0].Path != s.store || p[0].Free < spareSpace || p[0].Type == "" || p[0].Trouble != "" {
		t.Errorf("store: %+v", p)
	}
	if len(mx.LastRefusals) != 2 || len(mda.LastRefusals) != 0 {
		t.Fatalf("refusals: %+v, %+v", mx.LastRefusals, mda.LastRefusals)
	}
	for i, want := range []string{"<nobody@example.com>: no such user here", "<old@example.com>: moved to u1@example.com"} {
		if r := mx.LastRefusals[i]; r.To+": "+r.Text != want || r.Code != 550 || r.Client != "127.0.0.1" || r.From != "<a@b.example>" || r.Event != "refused" {
			t.Errorf("%+v, want %s", r, want)
		}
	}
	must(t, os.RemoveAll(s.store))
	peer.Swaks(t, "--server", s.smtp, "--to", "u1@example.com", "--from", "a@b.example", "--helo", "b.example")
	out, err := s.command("status").CombinedOutput()
	lacks(t, string(out), "postern mx", ", confined\n", "550 5.1.1 no such user here", "NO MAIL IS TAKEN", "451 4.3.0", s.store+": no such file or directory",
		"last refusals", "at most")
	if err != nil {
		t.Error(err)
	}
}

// The last are kept, bounded, and what strangers said in them does nothing to a
// terminal.
func TestRecentRefusals(t *testing.T) {
	var r recent
	if all := r.last(); len(all) != 0 {
		t.Errorf("at first: %+v", all)
	}
	r.add(mail.Outcome{Reply: mail.Reply{Code: 250}})
	for i := range 3*maxRecent + 1 {
		r.add(mail.Outcome{
			Event: mail.Refused, ID: fmt.Sprint(i), Client: mail.Client{IP: netip.MustParseAddr("192.0.2.1")},
			From: mail.Address{Local: "\x1b[2J\n", Domain: "b.example"}, To: []mail.Address{{Local: "\x9b2J", Domain: "a.example"}, {Local: "x"}},
			Reply: mail.NoSuchUser.Because(fmt.Errorf("%s\x1b", strings.Repeat("x", 10_000))), Note: "\x1b\r",
		})
	}
	all := r.last()
	if len(all) != maxRecent || all[0].ID != fmt.Sprint(3*maxRecent) || all[maxRecent-1].ID != fmt.Sprint(2*maxRecent+1) || all[0].More != 1 {
		t.Fatalf("%+v", all)
	}
	if text := fmt.Sprintf("%+v", all[0]); len(text) > 1000 || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) {
		t.Errorf("%q", text)
	}
}

// On a terminal the status stays in its place, and tells how much is going on.
func TestStatusWatch(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.start("serve")
	ours, theirs := openTerminal(t)
	cmd := s.command("status", "--watch=100ms")
	cmd.Stdout, cmd.Stderr = theirs, theirs
	must(t, cmd.Start())
	must(t, theirs.Close())
	must(t, ours.SetReadDeadline(time.Now().Add(20*time.Second)))
	r := bufio.NewReader(ours)
	page := func() string {
		text, err := r.ReadString('H')
		for err == nil && !strings.HasSuffix(text, "\x1b[H") {
			var more string
			more, err = r.ReadString('H')
			text += more
		}
		must(t, err)
		return strings.Join(strings.Fields(text), " ")
	}
	page()
	first := page()
	if strings.Contains(first, "a second") || !strings.Contains(first, "\x1b[K") || !strings.Contains(first, "\x1b[J") || !strings.Contains(first, "postern mx") {
		t.Errorf("first: %q", first)
	}
	if second := page(); !strings.Contains(second, "messages 0 taken, 0 told to try again, 0 refused; 0.0 a second") {
		t.Errorf("second: %q", second)
	}
	peer.Swaks(t, "--server", s.smtp, "--to", "u1@example.com", "--from", "a@b.example", "--helo", "b.example")
	for busy := ""; !strings.Contains(busy, "messages 1 taken, 0 told to try again, 0 refused; 0.0 a second"); {
		busy = page() // which comes after the one with the rate
	}
	must(t, cmd.Process.Signal(syscall.SIGINT))
	go func() { _, _ = r.WriteTo(discard{}) }()
	if err := cmd.Wait(); err != nil {
		t.Errorf("at Ctrl-C: %v", err)
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

// openTerminal returns both ends of a new one.
func openTerminal(t *testing.T) (ours, theirs *os.File) {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	must(t, err)
	ours = os.NewFile(uintptr(fd), "terminal")
	t.Cleanup(func() { _ = ours.Close() })
	must(t, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	must(t, err)
	theirs, err = os.OpenFile(fmt.Sprint("/dev/pts/", n), os.O_RDWR|unix.O_NOCTTY, 0)
	must(t, err)
	must(t, unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 50, Col: 120}))
	return ours, theirs
}

// Elsewhere one follows the other, as JSON or not, and nothing controls a terminal.
func TestStatusWatchedByPrograms(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.start("serve")
	lines := watched(t, s.command("status", "--watch=100ms", "--json"), 2)
	for _, line := range lines {
		var st Status
		if err := json.Unmarshal([]byte(line), &st); err != nil || st.Hostname != "mx.example.com" {
			t.Errorf("%v: %s", err, line)
		}
	}
	text := strings.Join(watched(t, s.command("status", "--watch=100ms"), 30), "\n")
	if strings.Contains(text, "\x1b") || strings.Count(text, "postern mx") < 2 {
		t.Error(text)
	}
	if out, err := s.command("status", "--watch=1ms").CombinedOutput(); err == nil || !strings.Contains(string(out), "at least 100ms") {
		t.Errorf("%v: %s", err, out)
	}
}

// watched returns the first lines of what cmd writes, and ends it.
func watched(t *testing.T, cmd *exec.Cmd, n int) (lines []string) {
	t.Helper()
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	scanner := bufio.NewScanner(out)
	for len(lines) < n && scanner.Scan() {
		lines = append(lines, scanner.Text())
	}
	must(t, cmd.Process.Signal(syscall.SIGTERM))
	_, _ = bufio.NewReader(out).WriteTo(discard{})
	if err := cmd.Wait(); err != nil || len(lines) < n {
		t.Errorf("%d lines, %v", len(lines), err)
	}
	return lines
}

func TestRedraw(t *testing.T) {
	page := []byte("ab\ncdef\nghi\nj\n")
	for _, tt := range []struct {
		columns, rows int
		want          string
	}{
		{80, 24, "\x1b[Hab\x1b[K\ncdef\x1b[K\nghi\x1b[K\nj\x1b[K\n\x1b[J"},
		{3, 24, "\x1b[Hab\x1b[K\ncd…\x1b[K\nghi\x1b[K\nj\x1b[K\n\x1b[J"},
		{80, 4, "\x1b[Hab\x1b[K\ncdef\x1b[K\n…\x1b[K\n\x1b[J"},
		{0, 0, "\x1b[Hab\x1b[K\ncdef\x1b[K\nghi\x1b[K\nj\x1b[K\n\x1b[J"},
	} {
		if got := string(redraw(page, tt.columns, tt.rows)); got != tt.want {
			t.Errorf("%d by %d: %q", tt.columns, tt.rows, got)
		}
	}
}
