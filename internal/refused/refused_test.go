package refused

import (
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postern/mail"
)

func newKeeper(t *testing.T, size int64) *Keeper {
	t.Helper()
	k := New(filepath.Join(t.TempDir(), "refused"), time.Hour, size, slog.New(slog.DiscardHandler))
	k.writing = make(chan struct{}, 1)
	return k
}

func keepOne(k *Keeper, id string, size int) bool {
	return k.Keep(&mail.Envelope{ID: id}, mail.NewMessage(mail.Octets(strings.Repeat("x", size))))
}

// The oldest goes for the sake of the newest, and what is too old goes.
func TestBounded(t *testing.T) {
	k := newKeeper(t, 1<<20)
	for _, id := range []string{"a", "b", "c", "d"} {
		if !keepOne(k, id, 300<<10) {
			t.Errorf("%s is not kept", id)
		}
	}
	names := func() (found string) {
		entries, _ := os.ReadDir(k.dir)
		for _, e := range entries {
			found += strings.TrimSuffix(e.Name(), suffix) + " "
		}
		return found
	}
	if got := names(); got != "b c d " {
		t.Errorf("kept are %q", got)
	}
	if keepOne(k, "huge", 2<<20) || names() != "b c d " {
		t.Errorf("one that is too large: %q", names())
	}
	if err := os.WriteFile(filepath.Join(k.dir, "tmp-1"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	again := newKeeper(t, 1<<20)
	again.dir = k.dir
	if err := again.makeRoom(0, time.Now().Add(59*time.Minute)); err != nil || names() != "b c d " {
		t.Errorf("after a restart: %v, %q", err, names())
	}
	if err := again.makeRoom(0, time.Now().Add(61*time.Minute)); err != nil || names() != "" {
		t.Errorf("too old: %v, %q", err, names())
	}
}

// Whatever goes wrong with what is kept, it is no failure.
func TestCannotBeKept(t *testing.T) {
	k := newKeeper(t, 1<<20)
	if err := os.WriteFile(k.dir, nil, 0o600); err != nil { // where the folder would be
		t.Fatal(err)
	}
	if keepOne(k, "a", 1) {
		t.Error("kept in a file")
	}
	k = newKeeper(t, 1<<20)
	k.writing <- struct{}{} // somebody is at it
	if keepOne(k, "a", 1) {
		t.Error("it waited")
	}
	if _, _, err := k.Open("a"); err == nil {
		t.Error("there is one")
	}
	<-k.writing
	if !keepOne(k, "a", 1) {
		t.Fatal("not kept")
	}
	if err := os.WriteFile(k.path("a"), []byte("no envelope"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := k.Open("a"); err == nil || !strings.Contains(err.Error(), "the envelope of a") {
		t.Errorf("%v", err)
	}
}

// What is kept is opened as it came, may be replaced by what is left of it, and is
// gone when it is removed.
func TestKept(t *testing.T) {
	k := newKeeper(t, 1<<20)
	env := &mail.Envelope{ID: "0123", To: []mail.Recipient{{Address: mail.Address{Local: "ann", Domain: "a.example"}}, {}}}
	msg := mail.NewMessage(mail.Octets("the body\r\n")).Prepend("X-Spam-Flag: YES\r\n")
	if !k.Keep(env, msg) {
		t.Fatal("not kept")
	}
	for _, recipients := range []int{2, 1} {
		env.To = env.To[:recipients]
		if err := k.Replace(env, msg); err != nil {
			t.Fatal(err)
		}
		got, body, err := k.Open("0123")
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(body)
		if err != nil || string(text) != "X-Spam-Flag: YES\r\nthe body\r\n" || len(got.To) != recipients || got.To[0].Address != env.To[0].Address {
			t.Errorf("%v: %q, %+v", err, text, got)
		}
		if err := body.Close(); err != nil {
			t.Error(err)
		}
	}
	if len(k.files) != 1 || k.total != k.files[0].size {
		t.Errorf("one message is counted as %+v, %d octets", k.files, k.total)
	}
	if err := k.Remove("0123"); err != nil || k.total != 0 {
		t.Errorf("%v; %d octets are left", err, k.total)
	}
	for id, want := range map[string]string{"0123": "no refused message", "../0123": "not the ID", ".": "not the ID", "a/0123": "not the ID"} {
		if _, _, err := k.Open(id); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", id, err)
		}
	}
	if _, _, err := (*Keeper)(nil).Open("0123"); err == nil || !strings.Contains(err.Error(), "policy.keep_refused is 0") {
		t.Errorf("nothing is kept: %v", err)
	}
}
