package milter

import (
	"strings"
	"testing"
	"time"

	"postern/internal/peer"
	"postern/internal/spool"
	"postern/mail"
)

// What Rspamd is asked, it answers.
func TestRspamd(t *testing.T) {
	t.Parallel()
	f := &Filter{Name: "rspamd", Network: "unix", Address: peer.Rspamd(t), Timeout: time.Minute,
		Spool: &spool.Spool{InMemory: 1 << 16, MaxMemory: 1 << 20, MaxFiles: 1 << 20}}
	const gtube = "JS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"
	for body, want := range map[string]Action{"hello\r\n": Accept, "X" + gtube + "\r\n": Reject, "Y" + gtube + "\r\n": Accept} {
		m := question1()
		header := "From: ann@client.example\r\nSubject: hi\r\nDate: Mon, 2 Jan 2023 15:04:05 +0000\r\nMessage-ID: <1@client.example>\r\n\r\n"
		m.Fields = []Field{{"From", " ann@client.example"}, {"Subject", " hi"}, {"Date", " Mon, 2 Jan 2023 15:04:05 +0000"}, {"Message-ID", " <1@client.example>"}}
		m.Source, m.Body = mail.Octets(header+body), int64(len(header))
		a, err := f.Ask(t.Context(), m)
		if err != nil || a.Action != want {
			t.Errorf("%q: %+v, %v", body, a, err)
		}
		marked := false
		for _, c := range a.Changes {
			marked = marked || c.Value != "" && strings.HasPrefix(c.Name, "X-Spam")
		}
		if marked != strings.HasPrefix(body, "Y") {
			t.Errorf("%q: %+v", body, a.Changes)
		}
	}
}
