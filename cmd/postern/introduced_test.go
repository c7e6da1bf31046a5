package main

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"postern/internal/dialogue"
	"postern/internal/dns/dnstest"
	"postern/internal/peer"
)

// A proxy says by XCLIENT whose words it passes on, as swaks does it: that client
// is judged, is in the log, and in the trace field.
func TestXClientOfSwaks(t *testing.T) {
	t.Parallel()
	s := newSite(t, `mx: xclient = ["127.0.0.1"]`, fmt.Sprintf("dns: servers = [%q]", dnstest.Start(t, world).Addr),
		`dnsbl: lists = [{ zone = "bl.example" }]`)
	p := s.start("serve")
	p.WaitOutput("DNS list in use")
	send := func(from, client string) (string, int) {
		return peer.Swaks(t, "--server", s.smtp, "--from", from, "--to", "u1@example.com", "--helo", "mail.good.example",
			"--xclient", "NAME=[UNAVAILABLE] PROTO=ESMTP ADDR="+client, "--header", "From: "+from)
	}
	if transcript, status := send("ann@good.example", "198.51.100.7"); status != 0 {
		t.Fatalf("%d\n%s", status, transcript)
	}
	text := string(s.mailbox("u1")[0].Read(t))
	for _, want := range []string{
		"\nReceived: from mail.good.example ([198.51.100.7])\n\tby mx.example.com with ESMTP\n",
		"iprev=pass policy.iprev=198.51.100.7", "spf=pass smtp.mailfrom=ann@good.example",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("there is no %q in\n%s", want, text)
		}
	}
	if transcript, status := send("ann@nomail.example", "IPV6:2001:db8::7"); status == 0 || !strings.Contains(transcript, "550 5.7.23 ") {
		t.Errorf("%d\n%s", status, transcript)
	}
	if transcript, status := send("ann@good.example", "203.0.113.66"); status == 0 || !strings.Contains(transcript, "550 5.7.1 your address is listed") {
		t.Errorf("%d\n%s", status, transcript)
	}
	for _, client := range []string{"client=198.51.100.7 ", "client=2001:db8::7 ", "client=203.0.113.66 "} {
		if !strings.Contains(p.Output(), client) {
			t.Errorf("there is no %s in the log", client)
		}
	}
	strange := newSite(t)
	strange.start("serve")
	transcript, status := peer.Swaks(t, "--server", strange.smtp, "--to", "u1@example.com", "--xclient", "ADDR=198.51.100.7", "--xclient-optional")
	if status != 0 || strings.Contains(transcript, "-> XCLIENT") || len(strange.mailbox("u1")) != 1 {
		t.Errorf("not named for it: %d\n%s", status, transcript)
	}
}

// When the whole world seems to be one private address, the log and the status
// say so.
func TestHiddenClients(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := s.start("serve")
	for i := range 100 {
		nc, err := net.DialTimeout("tcp", s.smtp, 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if err := nc.SetDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		dialogue.Play(t, nc, fmt.Sprintf("S: 220 *\nC: HELO x\nS: 250 *\nC: MAIL FROM:<a@client%d.example>\nS: 250 *\nC: QUIT\nS: 221 *\n", i))
		if err := nc.Close(); err != nil {
			t.Fatal(err)
		}
	}
	p.WaitOutput("level=ERROR msg=\"nearly all clients come from one private address")
	out, err := s.command("status").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "CLIENTS HIDDEN") || !strings.Contains(string(out), "127.0.0.1") {
		t.Errorf("%v\n%s", err, out)
	}
}
