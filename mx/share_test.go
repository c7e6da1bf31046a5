package mx

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/dialogue"
)

func TestConnectionsPerClient(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.PerClient = PerClient{Connections: 2}
		first := h.dial()
		dialogue.Play(t, first, greeting)
		second := h.dial()
		dialogue.Play(t, second, greeting)
		h.play(t, "S: 421 4.7.0 mx.example too many connections*\nS.")
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		h.play(t, greeting+quit)
		dialogue.Play(t, second, quit)
		synctest.Wait()
		if n := len(h.shares.connections); n != 0 {
			t.Errorf("%d networks are remembered that have no connection", n)
		}
	})
}

func TestExemptClientsHaveNoShare(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.PerClient = PerClient{Connections: 1, Errors: 1, Exempt: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/28")}}
		first := h.dial()
		dialogue.Play(t, first, greeting+"C: WHAT\nS: 500 *\nC: WHAT\nS: 500 *\n")
		h.play(t, greeting+"C: WHAT\nS: 500 *\n"+quit)
		dialogue.Play(t, first, quit)
	})
}

// A client that tries names is shown the door, however many sessions it uses, and is
// let in again when time has passed.
func TestErrorsPerClient(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.PerClient = PerClient{Errors: 6}
		try := func(n int) string {
			var b strings.Builder
			for i := range n {
				fmt.Fprintf(&b, "C: RCPT TO:<x%d@mx.example>\nS: 550 5.1.1 *\n", i)
			}
			return b.String()
		}
		h.play(t, sender+try(3)+quit)
		h.play(t, sender+try(2)+"C: RCPT TO:<x@mx.example>\nS: 421 4.7.0 mx.example too many errors\nS.")
		h.play(t, "S: 421 4.7.0 mx.example too many errors\nS.")
		time.Sleep(10 * time.Minute)
		h.play(t, toAnn+quit)
		h.play(t, sender+"C: RCPT TO:<x@other.example>\nS: 421 4.7.0 mx.example too many errors\nS.")
	})
}
