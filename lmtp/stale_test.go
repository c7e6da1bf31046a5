package lmtp_test

import (
	"context"
	"net"
	"net/netip"
	"testing"

	"postern/lmtp"
)

// The first message to a delivery agent that died and was started again goes over a connection to
// the new one: TCP would take it whole for the old one, and nobody could tell then
// whether it was delivered.
func TestMessageAfterARestart(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	serve := func(l net.Listener) (kill func()) {
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error)
		srv := newServer(sink{})
		srv.Networks = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
		srv.Trusts = func(net.Conn) bool { return true }
		d := doomed{l, make(chan net.Conn, 10)}
		go func() { done <- srv.Serve(ctx, d) }()
		return func() {
			for len(d.open) > 0 {
				(<-d.open).Close() // before the server can say goodbye
			}
			cancel()
			<-done
		}
	}
	kill := serve(l)
	client := &lmtp.Client{Hostname: "mx.example", Dial: lmtp.Dialer("tcp", address)}
	defer client.Close()
	for restart := range 3 {
		env := envelope("bob")
		env.ID = "id"
		if r := client.Deliver(t.Context(), env, message(text))[0]; !r.OK() {
			t.Fatalf("after %d deaths: %v", restart, r)
		}
		kill()
		if l, err = net.Listen("tcp", address); err != nil {
			t.Fatal(err)
		}
		kill = serve(l)
	}
	kill()
}

// A doomed listener tells which connections it accepted.
type doomed struct {
	net.Listener
	open chan net.Conn
}

func (d doomed) Accept() (net.Conn, error) {
	nc, err := d.Listener.Accept()
	if err == nil {
		d.open <- nc
	}
	return nc, err
}
