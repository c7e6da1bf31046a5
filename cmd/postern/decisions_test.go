package main

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/config"
	"postern/internal/dialogue"
	"postern/internal/record"
	"postern/mail"
	"postern/policy"
	"postern/policy/milter"
	"postern/policy/rate"
)

// sampleRecord returns the record of a common message.
func sampleRecord(t testing.TB) *policy.Record {
	t.Helper()
	r := new(policy.Record)
	if err := json.Unmarshal(recordSample[bytes.LastIndex(recordSample, []byte(`{"ID"`)):], r); err != nil {
		t.Fatal(err)
	}
	return r
}

// What is kept has nothing of any size that a message or a filter chose.
func TestDecisionIsSmall(t *testing.T) {
	r := sampleRecord(t)
	r.Verdict.Body = mail.Octets("the body")
	r.Verdict.Fields = "Authentication-Results: x\r\n"
	r.Facts.Filters = []policy.FilterAnswer{{Name: "x", Action: policy.Mark, Changes: make([]milter.Change, 1000)}}
	b, err := json.Marshal(decision{r})
	if err != nil || len(b) > 8000 || bytes.Contains(b, []byte("the body")) {
		t.Errorf("%v, %d octets", err, len(b))
	}
	if len(r.Facts.Filters[0].Changes) != 1000 || r.Verdict.Fields == "" {
		t.Error("the record itself was changed")
	}
	var back policy.Record
	if err := json.Unmarshal(b, &back); err != nil || back.ID != r.ID || back.Facts.Filters[0].Name != "x" {
		t.Errorf("%v: %+v", err, back)
	}
}

// Who hammers at the door is recorded now and then, and what has a transaction
// once.
func TestStrayRecordsAreBounded(t *testing.T) {
	d := &decisions{
		Store: record.Open(t.TempDir(), record.Options{Log: slog.New(slog.DiscardHandler)}),
		stray: rate.New[netip.Prefix](maxStray, time.Hour, 100),
	}
	for i := range 3000 {
		ip := netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})
		d.outcome(mail.Outcome{Event: mail.Connection, Client: mail.Client{IP: ip}, Reply: mail.TooManyConnections})
		d.outcome(mail.Outcome{Event: mail.Refused, ID: "x", Client: mail.Client{IP: ip}, Reply: mail.NoSuchUser})
		d.outcome(mail.Outcome{Event: mail.EndOfData, Client: mail.Client{IP: ip}, Reply: mail.Accepted})
	}
	d.outcome(mail.Outcome{Event: mail.Refused, Client: mail.Client{IP: netip.MustParseAddr("198.51.100.7")}, Reply: mail.TooBig})
	if n := d.Waiting(); n != maxStray+1 {
		t.Errorf("%d are recorded", n)
	}
	(*decisions)(nil).outcome(mail.Outcome{})
	(*decisions)(nil).transaction(nil)
	(*decisions)(nil).close()
}

// Records that are not wanted are not kept, and nobody is asked for them.
func TestNoRecords(t *testing.T) {
	t.Parallel()
	s := judgedSite(t, world)
	s.append("postern.toml", "[records]\nkeep = '0s'\n")
	s.start("serve")
	s.play("198.51.100.7", message("ann@good.example", "u1", "250 *"))
	if out, err := s.command("why", "ann@good.example").CombinedOutput(); err == nil || !bytes.Contains(out, []byte("no records are kept")) {
		t.Errorf("%v\n%s", err, out)
	}
	if found, _ := filepath.Glob(filepath.Join(s.dir, "state/mx/records*")); len(found) != 0 {
		t.Errorf("%v", found)
	}
}

// Behind a foreign mail transfer agent the delivery agent records itself.
func TestAgentRecords(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.start("mda")
	nc, err := net.Dial("unix", s.lmtp)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	dialogue.Play(t, nc, `S: 220 *
		C: LHLO mta.example
		S: 250-*
		S: ...
		S: 250 *
		C: MAIL FROM:<ann@client.example>
		S: 250 *
		C: RCPT TO:<nobody@example.com>
		S: 550 5.1.1 *
		C: RCPT TO:<u1@example.com>
		S: 250 *
		C: DATA
		S: 354 *
		C: Message-ID: <1@client.example>
		C:
		C: hi
		C: .
		S: 250 *
		C: QUIT
		S: 221 *
		`)
	told := s.why(t, "nobody@example.com")
	if !strings.Contains(told, "REFUSED") || !strings.Contains(told, "Why (unknown user)") {
		t.Errorf("%s", told)
	}
	told = s.why(t, "1@client.example")
	if !strings.Contains(told, "TAKEN") || !strings.Contains(told, "mailbox u1@example.com  250 2.0.0") {
		t.Errorf("%s", told)
	}
}

// An outdated Deliverer keeps a transaction to maps that do not serve any more when it
// is recorded.
type outdated struct{ scripted }

func (o *outdated) Deliver(ctx context.Context, env *mail.Envelope, msg *mail.Message) []mail.Reply {
	env.Generation = "of before the edit"
	return o.scripted.Deliver(ctx, env, msg)
}

// A record names the maps that the transaction was judged by, and not the newest.
func TestRecordOfAnEditMeanwhile(t *testing.T) {
	maps, log := t.TempDir(), slog.New(slog.DiscardHandler)
	if err := os.WriteFile(filepath.Join(maps, "example.com.toml"), []byte("domain = 'example.com'\nmailboxes = ['u1']\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	recipients, err := config.Open(maps, config.Options{Hostname: "mx.example.com", Log: log})
	if err != nil {
		t.Fatal(err)
	}
	c := &config.Config{Records: config.Records{Keep: time.Hour, Size: 1 << 20}}
	p := &parts{config: c, log: log, recipients: recipients, state: t.TempDir()}
	p.decisions = p.startDecisions()
	env := &mail.Envelope{ID: mail.NewID(time.Now()), To: make([]mail.Recipient, 1)}
	recording{&outdated{scripted{reply: mail.Accepted}}, p}.Deliver(t.Context(), env, mail.NewMessage(mail.Octets("A: b\r\n\r\n")))
	p.decisions.close()
	var recorded []policy.Record
	_, err = archive{folder: p.kept(recordFolder)}.each(t.Context(), record.Query{}, func(text []byte) error {
		recorded = append(recorded, policy.Record{})
		return json.Unmarshal(text, &recorded[len(recorded)-1])
	})
	if err != nil || len(recorded) != 1 || recorded[0].Generation != "of before the edit" {
		t.Errorf("%v: %+v", err, recorded)
	}
}

// What recording costs a message: where the client waits (add), and beside that
// (write).
func BenchmarkRecord(b *testing.B) {
	r := decision{sampleRecord(b)}
	b.Run("add", func(b *testing.B) {
		store := record.Open(b.TempDir(), record.Options{})
		b.ReportAllocs()
		for b.Loop() {
			store.Add(r) // most are dropped, which costs as much
		}
	})
	b.Run("write", func(b *testing.B) {
		dir := b.TempDir()
		store := record.Open(dir, record.Options{Keep: time.Hour, Size: 1 << 40, Sample: recordSample, Log: slog.New(slog.DiscardHandler)})
		ctx, stop := context.WithCancel(context.Background())
		var writing sync.WaitGroup
		writing.Go(func() { store.Run(ctx) })
		b.ReportAllocs()
		for b.Loop() {
			for store.Waiting() > 500 {
				time.Sleep(100 * time.Microsecond)
			}
			store.Add(r)
		}
		stop()
		writing.Wait()
		files, _ := filepath.Glob(filepath.Join(dir, "*.rec"))
		octets := int64(0)
		for _, name := range files {
			if info, err := os.Stat(name); err == nil {
				octets += info.Size()
			}
		}
		b.ReportMetric(float64(octets)/float64(b.N), "octets/record")
	})
}
