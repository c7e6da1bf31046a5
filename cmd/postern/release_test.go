package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postern/mail"
)

// What was refused is delivered all the same, once, to whom it was for.
func TestRelease(t *testing.T) {
	t.Parallel()
	s := judgedSite(t, world, `policy: keep_refused = "7d"`)
	s.append("recipients.d/example.com.toml", "[mailbox.small]\nquota = \"2KiB\"\n")
	p := s.start("serve")
	s.play("192.0.2.7", message("ann@reject.example", "u1", "550 5.7.26 *"))
	s.play("198.51.100.7", "C: MAIL FROM:<ann@good.example>\nS: 250 *\n"+text("small", "ann@good.example", strings.Repeat("x", 3000), "552 5.2.2 *"))

	told := s.why(t, "ann@reject.example")
	id := anID.FindString(told)
	if !strings.Contains(told, "postern release "+id) {
		t.Fatalf("it does not say how:\n%s", told)
	}
	if out, err := s.command("release", id).CombinedOutput(); err != nil || !strings.HasPrefix(string(out), "u1@example.com: 250 ") {
		t.Errorf("%v\n%s", err, out)
	}
	files := s.mailbox("u1")
	if len(files) != 1 {
		t.Fatalf("%d messages", len(files))
	}
	if text := string(files[0].Read(t)); !strings.HasPrefix(text, "Return-Path: <ann@reject.example>\n") || !strings.Contains(text, "dmarc=fail") || strings.Count(text, "\nhi\n") != 1 {
		t.Errorf("delivered:\n%s", text)
	}
	if out, err := s.command("release", id).CombinedOutput(); err == nil || !strings.Contains(string(out), "no refused message") {
		t.Errorf("again: %v\n%s", err, out)
	}
	p.WaitOutput("msg=released")
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		told = s.why(t, id)
		if strings.Contains(told, "RELEASED") || time.Now().After(end) {
			break
		}
	}
	if !strings.Contains(told, id+": RELEASED") || strings.Contains(told, "postern release") {
		t.Errorf("after it:\n%s", told)
	}

	// One that is refused again stays, and can be released when there is room.
	id = anID.FindString(s.why(t, "small@example.com"))
	if out, err := s.command("release", id).CombinedOutput(); err == nil || !strings.Contains(string(out), "small@example.com: 552 5.2.2") {
		t.Errorf("%v\n%s", err, out)
	}
	s.write("recipients.d/example.com.toml", strings.Replace(s.read("recipients.d/example.com.toml"), "2KiB", "2MiB", 1))
	if out, err := s.command("reload").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := s.command("release", id).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if left, _ := os.ReadDir(filepath.Join(s.dir, "state/mx/refused")); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	if out, err := s.command("release", "../../x").CombinedOutput(); err == nil || !strings.Contains(string(out), "is not the ID") {
		t.Errorf("%v\n%s", err, out)
	}
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	if out, err := s.command("release", id).CombinedOutput(); err == nil || !strings.Contains(string(out), "does not run") {
		t.Errorf("%v\n%s", err, out)
	}
}

// Nothing is kept unless that is wanted.
func TestNothingRefusedIsKept(t *testing.T) {
	t.Parallel()
	s := judgedSite(t, world)
	s.start("serve")
	s.play("192.0.2.7", message("ann@reject.example", "u1", "550 5.7.26 *"))
	if told := s.why(t, "ann@reject.example"); strings.Contains(told, "release") {
		t.Errorf("%s", told)
	}
	if _, err := os.Stat(filepath.Join(s.dir, "state/mx/refused")); err == nil {
		t.Error("there is a folder")
	}
	if out, err := s.command("release", "0123456789abcdef").CombinedOutput(); err == nil || !strings.Contains(string(out), "keep_refused is 0") {
		t.Errorf("%v\n%s", err, out)
	}
}

func newRefused(t *testing.T, size int64) *refused {
	return &refused{dir: filepath.Join(t.TempDir(), "refused"), age: time.Hour, size: size, log: slog.New(slog.DiscardHandler), writing: make(chan struct{}, 1)}
}

func keepOne(k *refused, id string, size int) bool {
	return k.keep(&mail.Envelope{ID: id}, mail.NewMessage(mail.Octets(strings.Repeat("x", size))))
}

// The oldest goes for the sake of the newest, and what is too old goes.
func TestRefusedMailIsBounded(t *testing.T) {
	k := newRefused(t, 1<<20)
	for _, id := range []string{"a", "b", "c", "d"} {
		if !keepOne(k, id, 300<<10) {
			t.Errorf("%s is not kept", id)
		}
	}
	names := func() (found string) {
		entries, _ := os.ReadDir(k.dir)
		for _, e := range entries {
			found += strings.TrimSuffix(e.Name(), refusedSuffix) + " "
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
	again := newRefused(t, 1<<20)
	again.dir = k.dir
	if err := again.makeRoom(0, time.Now().Add(59*time.Minute)); err != nil || names() != "b c d " {
		t.Errorf("after a restart: %v, %q", err, names())
	}
	if err := again.makeRoom(0, time.Now().Add(61*time.Minute)); err != nil || names() != "" {
		t.Errorf("too old: %v, %q", err, names())
	}
}

// Whatever goes wrong with what is kept, it is no failure.
func TestRefusedMailThatCannotBeKept(t *testing.T) {
	k := newRefused(t, 1<<20)
	if err := os.WriteFile(k.dir, nil, 0o600); err != nil { // where the folder would be
		t.Fatal(err)
	}
	if keepOne(k, "a", 1) {
		t.Error("kept in a file")
	}
	k = newRefused(t, 1<<20)
	k.writing <- struct{}{} // somebody is at it
	if keepOne(k, "a", 1) {
		t.Error("it waited")
	}
	if _, _, err := k.open("a"); err == nil {
		t.Error("there is one")
	}
	<-k.writing
	if !keepOne(k, "a", 1) {
		t.Fatal("not kept")
	}
	if err := os.WriteFile(k.path("a"), []byte("no envelope"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := k.open("a"); err == nil || !strings.Contains(err.Error(), "the envelope of a") {
		t.Errorf("%v", err)
	}
}
