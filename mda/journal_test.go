package mda

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postern/mail"
)

// A sink delivers everything, and counts.
type sink struct{ delivered int }

func (s *sink) Verify(context.Context, *mail.Envelope, mail.Recipient) error { return nil }

func (s *sink) Deliver(_ context.Context, env *mail.Envelope, _ *mail.Message) []mail.Reply {
	s.delivered += len(env.To)
	replies := make([]mail.Reply, len(env.To))
	for i := range replies {
		replies[i] = mail.Accepted
	}
	return replies
}

func open(t testing.TB, path string, next mail.Deliverer) *Ledger {
	t.Helper()
	return OpenLedger(path, 1_000_000, next, slog.New(slog.DiscardHandler))
}

// send delivers message number i to n recipients as transaction number i.
func send(t testing.TB, l *Ledger, i, n int) {
	t.Helper()
	env := &mail.Envelope{ID: fmt.Sprintf("%016d", i), Digest: mail.Digest{byte(i), byte(i >> 8), byte(i >> 16), 1}}
	for k := range n {
		env.To = append(env.To, mail.Recipient{Address: mail.Address{Local: fmt.Sprint("u", k), Domain: "example"}})
	}
	for _, r := range l.Deliver(t.Context(), env, mail.NewMessage(mail.Octets("text"))) {
		if !r.OK() {
			t.Fatal(r)
		}
	}
}

// written returns a file with entries of several sizes, and strikes.
func written(t testing.TB) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "delivered")
	l := open(t, path, new(sink))
	for i := range 6 {
		send(t, l, i, 1+i%3)
		if i%3 == 2 {
			l.Heard(fmt.Sprintf("%016d", i-1))
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// remembered returns the keys that a file says, and fails the test if the ledger
// that is opened on it is not fit for use.
func remembered(t testing.TB, text []byte) map[key]string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "delivered")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	next := new(sink)
	l := open(t, path, next)
	said := make(map[key]string)
	for k := range l.book.byKey {
		said[k], _ = l.book.find(k)
	}
	send(t, l, 99, 1)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = open(t, path, next)
	send(t, l, 99, 1)
	if next.delivered != 1 || l.Len() != len(said)+1 {
		t.Fatalf("after %q: %d delivered, %d remembered of %d", text, next.delivered, l.Len(), len(said)+1)
	}
	_ = l.Close()
	return said
}

// Wherever a crash tears the file, what stands on whole lines is remembered, all
// of it and nothing else.
func TestTornTail(t *testing.T) {
	whole := written(t)
	if n := bytes.Count(whole, []byte("\n")); n != 8 {
		t.Fatalf("%d lines:\n%s", n, whole)
	}
	for n := range len(whole) + 1 {
		torn := whole[:n]
		lines := torn[:bytes.LastIndexByte(torn, '\n')+1]
		got, want := remembered(t, torn), model(t, lines)
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("torn at %d: remembers %v, want %v", n, got, want)
		}
	}
}

// model reads whole lines in another way than replay does.
func model(t testing.TB, lines []byte) map[key]string {
	t.Helper()
	owner := make(map[key]string)
	for line := range strings.Lines(string(lines)) {
		words := strings.Fields(line)
		words = words[:len(words)-1]
		if words[0] == "-" {
			for k, id := range owner {
				if id == words[1] {
					delete(owner, k)
				}
			}
			continue
		}
		for _, word := range words[3:] {
			var k key
			for i := range k {
				if _, err := fmt.Sscanf(word[2*i:2*i+2], "%02x", &k[i]); err != nil {
					t.Fatal(err)
				}
			}
			owner[k] = words[2]
		}
	}
	return owner
}

// An octet that rots takes with it the line that it is in, and the next one if it
// was the end of a line; nothing else.
func TestRottenOctet(t *testing.T) {
	whole := written(t)
	for n := range whole {
		rotten := bytes.Clone(whole)
		rotten[n] ^= 0x11 // makes no end of a line
		b := newBook(1000)
		if err := replay(bytes.NewReader(rotten), b); err != nil {
			t.Fatal(err)
		}
		got := make(map[key]string)
		for k := range b.byKey {
			got[k], _ = b.find(k)
		}
		start := bytes.LastIndexByte(rotten[:n], '\n') + 1
		end := n + bytes.IndexByte(append(rotten[n:len(rotten):len(rotten)], '\n'), '\n')
		left := append(bytes.Clone(whole[:start]), whole[min(end+1, len(whole)):]...)
		if want := model(t, left); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("octet %d: remembers %v, want %v", n, got, want)
		}
	}
}

// Whatever is in the file, nothing is remembered that was not written there with
// its check sum.
func FuzzReplay(f *testing.F) {
	whole := written(f)
	f.Add(whole)
	f.Add(whole[:len(whole)/2])
	f.Add([]byte("+ 1 a " + strings.Repeat("0", 32) + " 00000000\n"))
	f.Add([]byte(checked("+ 1 a " + strings.Repeat("0", 34))))
	f.Add([]byte(checked("+ x a " + strings.Repeat("0", 32))))
	f.Add([]byte(checked("-") + checked("- ") + checked("+ 1  x") + "\n \n"))
	f.Add(bytes.Repeat([]byte("x"), 3*maxLine))
	f.Fuzz(func(t *testing.T, text []byte) {
		b := newBook(1000)
		if err := replay(bytes.NewReader(text), b); err != nil {
			t.Fatal(err)
		}
		for k := range b.byKey {
			id, _ := b.find(k)
			if !bytes.Contains(text, fmt.Appendf(nil, " %x", k[:])) || !bytes.Contains(text, []byte(" "+id+" ")) {
				t.Errorf("%q says nothing of %x for %q", text, k, id)
			}
		}
		again := newBook(1000)
		var lines strings.Builder
		for place := b.byAge.Front(); place != nil; place = place.Next() {
			lines.WriteString(place.Value.(*entry).lines())
		}
		if err := replay(strings.NewReader(lines.String()), again); err != nil || again.len() != b.len() {
			t.Errorf("%q is written as %q, and %d of %d come back", text, lines.String(), again.len(), b.len())
		}
	})
}

// A file of entries that were struck does not grow for ever, and one that is long
// for good reason is not written anew each time.
func TestJournalStaysSmall(t *testing.T) {
	path := filepath.Join(t.TempDir(), "delivered")
	l := open(t, path, new(sink))
	longest := 0
	for i := range spareLines {
		send(t, l, i, 1)
		l.Heard(fmt.Sprintf("%016d", i))
		longest = max(longest, l.journal.lines)
	}
	if longest < spareLines || longest > spareLines+10 {
		t.Errorf("up to %d lines", longest)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if l = open(t, path, new(sink)); l.Len() != 0 {
		t.Errorf("%d remembered", l.Len())
	}
	defer l.Close()
	long := &journal{lines: 3 * spareLines, kept: 3 * spareLines}
	if long.wasteful() {
		t.Error("a file that was just written is to be written again")
	}
}

// A client that tries for days to reach somebody else adds nothing to what is
// remembered of those who have the message.
func TestEntriesOfAKeyAreBounded(t *testing.T) {
	l := open(t, filepath.Join(t.TempDir(), "delivered"), new(sink))
	defer l.Close()
	for i := range 1000 {
		l.enter(fmt.Sprint(i), []key{{1}}, []mail.Reply{mail.Accepted})
	}
	if n := l.book.byAge.Len(); n != maxEntries || len(l.book.byID) != n || len(l.book.byKey[key{1}]) != n {
		t.Errorf("%d entries, %d by ID, %d of the key", n, len(l.book.byID), len(l.book.byKey[key{1}]))
	}
	if l.Heard("999"); l.Len() != 0 || len(l.book.byID) != 0 || l.book.byAge.Len() != 0 {
		t.Errorf("left: %v", l.book)
	}
}

// A disk that is full takes nothing from what is remembered, and when there is
// room again all of it is written.
func TestCannotWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "delivered")
	var log bytes.Buffer
	next := new(sink)
	l := OpenLedger(path, 1000, next, slog.New(slog.NewTextHandler(&log, nil)))
	defer l.Close()
	send(t, l, 1, 1)
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	good := l.journal.file
	defer good.Close()
	l.journal.file = full
	send(t, l, 2, 2)
	send(t, l, 3, 1)
	if n := strings.Count(log.String(), "cannot be written"); n != 1 {
		t.Errorf("the log says so %d times:\n%s", n, log.String())
	}
	send(t, l, 2, 2)
	if next.delivered != 4 {
		t.Errorf("%d delivered", next.delivered)
	}
	if _, err := good.WriteString("+ 17000000"); err != nil { // what a short write leaves
		t.Fatal(err)
	}
	l.tried = time.Now().Add(-rewriteAfter)
	send(t, l, 4, 1)
	if !strings.Contains(log.String(), "can be written again") {
		t.Errorf("the log does not say that it is over:\n%s", log.String())
	}
	if l = open(t, path, next); l.Len() != 5 {
		t.Errorf("%d remembered after a restart, want 5", l.Len())
	}
}

// Where there is no folder, or the file cannot be read, the ledger does its work
// and says what is wrong.
func TestNoFile(t *testing.T) {
	dir := t.TempDir()
	for path, says := range map[string]string{
		filepath.Join(dir, "absent", "delivered"): "cannot be written",
		dir: "cannot be read",
	} {
		var log bytes.Buffer
		next := new(sink)
		l := OpenLedger(path, 1000, next, slog.New(slog.NewTextHandler(&log, nil)))
		for range 2 {
			send(t, l, 1, 1)
		}
		if next.delivered != 1 || !strings.Contains(log.String(), says) {
			t.Errorf("%s: %d delivered, log:\n%s", path, next.delivered, log.String())
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
}

// BenchmarkLedger is what a delivery costs beside the delivery.
func BenchmarkLedger(b *testing.B) {
	l := open(b, filepath.Join(b.TempDir(), "delivered"), new(sink))
	defer l.Close()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		send(b, l, i, 1)
		l.Heard(fmt.Sprintf("%016d", i))
	}
}

// BenchmarkReplay is what a start costs with the ledger full.
func BenchmarkReplay(b *testing.B) {
	var text strings.Builder
	for i := range 200_000 {
		e := entry{id: fmt.Sprintf("%016d", i), at: time.Now(), keys: []key{{byte(i), byte(i >> 8), byte(i >> 16)}}}
		text.WriteString(e.lines())
	}
	b.SetBytes(int64(text.Len()))
	for b.Loop() {
		if err := replay(strings.NewReader(text.String()), newBook(200_000)); err != nil {
			b.Fatal(err)
		}
	}
}
