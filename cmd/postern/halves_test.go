package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postern/internal/peer"
)

// The delivery agent logs a message under the MX's name for it, with the client
// that the MX had it from, and the generation that both keep to.
func TestOneNameInBothLogs(t *testing.T) {
	s := newSite(t)
	agent := s.start("mda")
	front := s.start("mx")
	reply := s.sendOne("ann@client.example", "u1@example.com")
	words := strings.Fields(reply.Lines[0])
	id := words[len(words)-1]
	agent.WaitOutput(fmt.Sprintf("msg=delivery id=%s client=127.0.0.1 helo=mail.%s ", id, peer.SenderDomain))
	var st Status
	out, err := s.command("status", "--json").Output()
	must(t, err)
	must(t, json.NewDecoder(bytes.NewReader(out)).Decode(&st))
	agent.WaitOutput(" generation=" + st.Generation + " took=")
	front.WaitOutput(" generation=" + st.Generation + " note=")
	content := string(s.mailbox("u1")[0].Read(t))
	if n := strings.Count(content, "id "+id); n != 2 {
		t.Errorf("the name is in %d trace fields of 2:\n%s", n, content)
	}
}

// Each half notices an edit in its own time, and no client hears of that: somebody
// new is unknown until the MX knows, and is served from then on.
func TestHalvesReloadInStep(t *testing.T) {
	s := newSite(t)
	s.start("mda")
	s.start("mx")
	client, err := peer.Dial(t.Context(), peer.SMTP, "tcp", s.smtp)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	names := `"u0", "u1", "u2", "u3", "u4", "u5", "u6", "u7", "u8", "u9"`
	for i := range 10 {
		user := fmt.Sprintf("new%d", i)
		names += fmt.Sprintf(", %q", user)
		s.write("recipients.d/example.com.toml", fmt.Sprintf("domain = \"example.com\"\nmailboxes = [%s]\n", names))
		for deadline := time.Now().Add(20 * time.Second); ; {
			replies, err := client.Send("ann@client.example", []string{user + "@example.com"}, small.Message(i).Octets)
			if err != nil {
				t.Fatal(err)
			}
			if replies[0].Code == 250 {
				break
			}
			if replies[0].Code != 550 || time.Now().After(deadline) {
				t.Fatalf("%s: %v", user, replies[0])
			}
			time.Sleep(5 * time.Millisecond) // who brings nothing for long is dropped
		}
		s.wantCopies(s.store, map[string]int{user: 1})
	}
}

// In front of our agent alone, a Postfix tries again for the alias of which one
// member cannot be served; the other member gets no second copy.
func TestAliasFromPostfix(t *testing.T) {
	s := newSite(t)
	if err := os.Chmod(s.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s.start("mda")
	if err := os.Chmod(s.lmtp, 0o666); err != nil { // Postfix is another user
		t.Fatal(err)
	}
	inTheWay := filepath.Join(s.store, "example.com", "u2")
	if err := os.MkdirAll(filepath.Dir(inTheWay), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(inTheWay, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	postfix := peer.StartPostfix(t, peer.PostfixConfig{Transport: peer.LMTPToUnix(s.lmtp)})
	sendAll(t, peer.Load{
		Protocol: peer.SMTP, Network: "tcp", Addr: postfix.Addr,
		From: "someone@" + peer.SenderDomain, Messages: small, Count: 1,
		To: func(int) []string { return []string{"team@example.com", "u3@example.com"} },
	})
	attempts := func() (n int) {
		for _, d := range postfix.Deliveries() {
			if d.To == "team@example.com" {
				n++
			}
		}
		return n
	}
	for deadline := time.Now().Add(time.Minute); attempts() < 3; {
		if time.Now().After(deadline) {
			t.Fatalf("Postfix does not try again:\n%s", postfix.Log())
		}
		postfix.Flush()
		time.Sleep(200 * time.Millisecond)
	}
	if err := os.Remove(inTheWay); err != nil {
		t.Fatal(err)
	}
	postfix.WaitEmpty(time.Minute)
	s.wantCopies(s.store, map[string]int{"u1": 1, "u2": 1, "u3": 1})
	if bounces := postfix.Bounces(); len(bounces) > 0 {
		t.Errorf("a bounce: %s", bounces[0])
	}
}
