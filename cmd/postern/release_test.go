package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
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
