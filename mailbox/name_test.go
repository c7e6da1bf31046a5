package mailbox

import (
	"strings"
	"testing"
	"time"
)

func TestName(t *testing.T) {
	n := &namer{host: escapeHost("mx.example.org"), pid: 42, life: "0123456789abcdef"}
	now := time.Unix(1751373000, 123456789)
	n.count.Store(6)
	if got, want := n.next(now), "1751373000.M123456P42Q7R0123456789abcdef.mx.example.org"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := sized("x", 100, 3), "x,S=100,W=103"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if a, b := n.next(now), n.next(now); a == b {
		t.Errorf("%s twice", a)
	}
	if a, b := newNamer("mx").next(now), newNamer("mx").next(now); a == b {
		t.Errorf("%s in two processes", a)
	}
}

func TestEscapeHost(t *testing.T) {
	tests := []struct{ host, want string }{
		{"mx.example.org", "mx.example.org"},
		{"", "localhost"},
		{"a/b:c", `a\057b\072c`},
		{"mx,S=1", `mx\054S=1`},
		{"a\x00 \n\\\xff", `a\000\040\012\134\377`},
		{strings.Repeat("x", 300), strings.Repeat("x", maxHost)},
		{strings.Repeat("x", maxHost-3) + "/", strings.Repeat("x", maxHost-3)},
	}
	for _, tt := range tests {
		if got := escapeHost(tt.host); got != tt.want {
			t.Errorf("%q: got %s, want %s", tt.host, got, tt.want)
		}
	}
}
