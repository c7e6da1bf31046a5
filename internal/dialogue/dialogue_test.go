package dialogue

import (
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A failure is a T that keeps what it was told.
type failure struct{ text string }

func (f *failure) Helper() {}

func (f *failure) Fatalf(format string, args ...any) {
	f.text = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// between plays one script as the server and one as the client, and returns
// what the client's failure said.
func between(t *testing.T, server, client string) string {
	t.Helper()
	a, b := net.Pipe()
	go func() {
		Serve(&failure{}, b, server)
		_ = b.Close()
	}()
	f := new(failure)
	done := make(chan struct{})
	go func() {
		defer close(done)
		Play(f, a, client)
	}()
	<-done
	_ = a.Close()
	return f.text
}

const session = `
	S: 220 mx.example ESMTP

	# comments and empty lines are nothing
	C: EHLO client.example
	S: 250-mx.example
	S: 250-PIPELINING
	S: 250 SIZE 1000
	C: MAIL FROM:<\x00\\\*\n\r\t>
	C: RSET
	C| half a
	S: 250 2.1.0 one
	S: 250 2.0.0 two
	C| \x20line\r\n
	WAIT 5m
	S: 500 *
	S.`

func TestPlay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		// A wildcard is an asterisk where it is sent.
		if got := between(t, strings.TrimSuffix(session, "S."), session); got != "" {
			t.Error(got)
		}
		if d := time.Since(start); d != 5*time.Minute {
			t.Errorf("waited %v", d)
		}
	})
}

func TestPlayFails(t *testing.T) {
	tests := []struct {
		name, server, client string
		want                 []string // in the message
	}{
		{"another line", "S: 250 one\nC: A\nS: 550 no", "S: 250 one\nC: A\nS: 250 *",
			[]string{"line 3", "want S: 250 *", " got S: 550 no", "\tS: 250 one\n\tC: A\n\tS: 550 no\n"}},
		{"the end", "S: 250 one", "S: 250 one\nS: 250 two", []string{"line 2", "want S: 250 two", "EOF"}},
		{"no end", "S: 250 one\nS: 250 two", "S: 250 one\nS.", []string{"line 2", "want the end", "250 two"}},
		{"half a line at the end", "S| 250 one", "S.", []string{"want the end", "250 one"}},
		{"LF alone ends no line", "S| 250 one\\n", "S: 250 one", []string{`250 one\n`, "EOF"}},
		{"nothing to skip to", "S: 250 one", "S: ...\nC: A", []string{"must follow"}},
		{"skipped to the end", "S: 250 one", "S: ...\nS: 250 two", []string{"want S: 250 two", "EOF"}},
		{"not sent", "S: 250 one\nC. ", "S: 250 one\nC: A\nC: B\nWAIT 1s", []string{"closed pipe"}},
		{"no step", "S: 250 one", "X: 250 one", []string{"line 1", "not a step"}},
		{"no escape", "S: 250 one", `S: \q`, []string{"unknown escape"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := strings.ReplaceAll(tt.server, "C. ", "S.")
				got := between(t, server, tt.client)
				for _, want := range tt.want {
					if !strings.Contains(got, want) {
						t.Errorf("message lacks %q:\n%s", want, got)
					}
				}
			})
		})
	}
}

func TestPlayLeavesWhatFollows(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	go func() {
		_, _ = io.WriteString(b, "250 one\r\n250 two\r\n")
		_ = b.Close()
	}()
	Play(t, a, "S: 250 one")
	Play(t, a, "S: 250 two\nS.")
}

// A batch is one write, though the other side answers in the middle of it.
func TestPlayOneWrite(t *testing.T) {
	a, b := net.Pipe()
	go func() {
		defer b.Close()
		p := make([]byte, 100)
		for range 2 {
			n, _ := b.Read(p[:3])
			_, _ = b.Write(p[:n])
		}
	}()
	w := &writes{Conn: a}
	Play(t, w, "C: A\nC: B\nS: A\nS: B\nS.")
	if w.n != 1 {
		t.Errorf("%d writes", w.n)
	}
}

type writes struct {
	net.Conn
	n int
}

func (w *writes) Write(p []byte) (int, error) {
	w.n++
	return w.Conn.Write(p)
}

func TestMatch(t *testing.T) {
	tests := []struct {
		pattern, got string
		want         bool
	}{
		{"", "", true},
		{"250", "250", true},
		{"250", "250 ", false},
		{"250 *", "250 OK", true},
		{"250 *", "250 ", true},
		{"250 *", "250", false},
		{"*", "", true},
		{"250 * id *.", "250 2.0.0 OK id abc.", true},
		{"250 * id *.", "250 2.0.0 OK id abc", false},
		{"250 * id *", "250 id", false},
		{"a*b*c", "abc", true},
		{"a*b*c", "ac", false},
		{"a*bb*b", "abb", false},
		{"a*a", "a", false},
		{`a\*b`, "a*b", true},
		{`a\*b`, "axb", false},
		{`*\**`, "axb", false},
		{`*\**`, "a*b", true},
	}
	for _, tt := range tests {
		s, err := parseStep("S: " + tt.pattern)
		if err != nil {
			t.Fatal(err)
		}
		if got := match(s.text, s.stars, tt.got); got != tt.want {
			t.Errorf("match(%q, %q) = %v", tt.pattern, tt.got, got)
		}
	}
}
