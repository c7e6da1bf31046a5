package lmtp_test

import (
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/dialogue"
	"postern/lmtp"
	"postern/mail"
)

// toBoth is lhlo and a transaction for two.
const toBoth = lhlo + `
	C: MAIL FROM:<ann@mta.example>
	C: RCPT TO:<bob@mda.example>
	C: RCPT TO:<cid@mda.example>
	S: 250 2.1.0 *
	S: 250 2.1.5 *
	S: 250 2.1.5 *
`

// RFC 2033, section 4.3: the last chunk is answered as the end of data is, with a
// reply for each recipient; the others are answered once.
func TestRFC3030_2_Chunks(t *testing.T) {
	next := &answers{final: map[string]mail.Reply{"cid": mail.NoSpace}}
	play(t, newServer(next), toBoth+`
		C: BDAT 6
		C| a: b\r\n
		S: 250 2.0.0 6 octets received
		C: BDAT 0
		S: 250 2.0.0 0 octets received
		# a dot is an octet, and the end of a line may come later
		C: bdat 4
		C| \r\n.\r
		S: 250 *
		C: BDAT 8 last
		C| \n.\r\nx\r\n\n
		S: 250 2.0.0 OK
		S: 452 4.3.1 *
		# the transaction is over
		C: RCPT TO:<bob@mda.example>
		S: 503 5.5.1 *
		C: MAIL FROM:<ann@mta.example>
		S: 250 *
		C: QUIT
		S: 221 2.0.0 mda.example *
		S.`)
	// The bare LF at the end got its CR.
	if got := next.last(); got.text != "a: b\r\n\r\n.\r\n.\r\nx\r\n\r\n" || len(got.env.To) != 2 {
		t.Errorf("delivered %+v", got)
	}
}

// A chunk that is refused is read, and so are those behind it: they are no
// commands. Then there is no message.
func TestRFC3030_2_RefusedChunks(t *testing.T) {
	tests := []struct{ name, script string }{
		{"no transaction", lhlo + "C: BDAT 6 LAST\nC: QUIT\nS: 503 5.5.1 *\nC: BDAT 6\nC: QUIT\nS: 503 5.5.1 *\n"},
		{"no recipient", lhlo + "C: MAIL FROM:<>\nS: 250 *\nC: BDAT 6\nC: QUIT\nC: BDAT 6 LAST\nC: QUIT\nS: 503 5.5.1 no valid recipients\nS: 503 5.5.1 *\n"},
		{"no size that is one, but a readable one", toBoth + "C: BDAT 6 FIRST\nC: QUIT\nS: 501 5.5.4 *\nC: BDAT 6 LAST\nC: QUIT\nS: 503 *\n"},
		{"too big, in the last", toBoth + "C: BDAT 12 LAST\nC: QUIT\nC: QUIT\nS: 552 5.3.4 *\nS: 552 5.3.4 *\n"},
		{"too big, not in the last", toBoth + "C: BDAT 12\nC: QUIT\nC: QUIT\nC: BDAT 6 LAST\nC: QUIT\nS: 552 5.3.4 *\nS: 503 5.5.1 *\n"},
		{"too big together", toBoth + "C: BDAT 6\nC: QUIT\nC: BDAT 6 LAST\nC: QUIT\nS: 250 *\nS: 552 5.3.4 *\nS: 552 5.3.4 *\n"},
		{"DATA among them", toBoth + "C: BDAT 6\nC: QUIT\nS: 250 *\nC: DATA\nS: 503 5.5.1 *\nC: RCPT TO:<eve@mda.example>\nS: 503 5.5.1 *\nC: MAIL FROM:<>\nS: 503 *\n"},
		{"RSET among them", toBoth + "C: BDAT 6\nC: QUIT\nC: RSET\nC: BDAT 6 LAST\nC: QUIT\nS: 250 *\nS: 250 *\nS: 503 5.5.1 *\n"},
		{"LHLO among them", toBoth + "C: BDAT 6\nC: QUIT\nC: LHLO x\nC: BDAT 6 LAST\nC: QUIT\nS: 250 *\nS: 250-*\nS: ...\nS: 250 *\nS: 503 5.5.1 *\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			next := &answers{}
			srv := newServer(next)
			srv.MaxSize = 10
			play(t, srv, tt.script+"C: NOOP\nS: 250 2.0.0 *\nC: QUIT\nS: 221 2.0.0 mda.example *\nS.")
			if n := len(next.delivered); n != 0 {
				t.Errorf("%d messages were delivered", n)
			}
			if memory, files := srv.Spool.Held(); memory != 0 || files != 0 {
				t.Errorf("%d octets are held in memory, %d in files", memory, files)
			}
		})
	}
}

// Where nobody knows how many octets follow, nobody knows where a command begins.
func TestRFC3030_2_UnreadableChunkSize(t *testing.T) {
	for arg, reply := range map[string]string{
		" x": "501 5.5.4 mda.example *", " -1 LAST": "501 5.5.4 mda.example *", " 99999999999999999999 LAST": "552 5.3.4 *",
	} {
		for _, before := range []string{toBoth, lhlo} { // whatever else is wrong
			play(t, newServer(&answers{}), before+"C: BDAT"+arg+"\nS: "+reply+"\nS.")
		}
	}
	srv := newServer(&answers{})
	srv.MaxSize = 10
	play(t, srv, toBoth+"C: BDAT 100000000\nS: 552 5.3.4 *\nS.")
}

// All chunks share the time of a message, and a silent client hears 421.
func TestRFC3030_2_SlowChunks(t *testing.T) {
	for _, tt := range []struct {
		name     string
		timeouts lmtp.Timeouts
		after    time.Duration
	}{
		{"silence", lmtp.Timeouts{Data: time.Minute}, time.Minute},
		{"a trickle", lmtp.Timeouts{Message: 2 * time.Minute}, 2 * time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			next := &answers{}
			srv := newServer(next)
			srv.Timeouts = tt.timeouts
			synctest.Test(t, func(t *testing.T) {
				nc, err := serve(t, srv).Dial(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				defer nc.Close()
				start := time.Now()
				dialogue.Play(t, nc, toBoth+"C: BDAT 5\nC| hello\nS: 250 *\nC: BDAT 100 LAST\nC| a\nS: 421 4.4.2 mda.example *\nS.")
				if d := time.Since(start); d != tt.after || len(next.delivered) != 0 {
					t.Errorf("after %v; %d delivered", d, len(next.delivered))
				}
			})
		})
	}
}
