package peer

import (
	"bufio"
	"fmt"
	"net"
	"reflect"
	"strings"
	"testing"
)

// serve is a server that answers the first connection by a script: "C: " begins
// a line that it must hear, "S: " one that it says.
func serve(t *testing.T, script string) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- play(l, script) }()
	t.Cleanup(func() {
		l.Close()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

func play(l net.Listener, script string) error {
	nc, err := l.Accept()
	if err != nil {
		return err
	}
	defer nc.Close()
	r := bufio.NewReader(nc)
	for line := range strings.Lines(script) {
		line = strings.TrimSpace(line)
		if say, ok := strings.CutPrefix(line, "S: "); ok {
			fmt.Fprint(nc, strings.NewReplacer(`\n`, "\n", `\r`, "\r").Replace(say)+"\r\n")
			continue
		}
		want, _ := strings.CutPrefix(line, "C: ")
		got, err := r.ReadString('\n')
		if got != want+"\r\n" {
			return fmt.Errorf("heard %q (%v), want %q", got, err, want)
		}
	}
	return nil
}

const hello = `
	S: 220 hello
	C: EHLO mail.sender.example
	S: 250-hello
	S: 250-PIPELINING
	S: 250-SIZE 1000
	S: 250 8BITMIME
`

func TestSend(t *testing.T) {
	const (
		mail = "C: MAIL FROM:<s@a.example> SIZE=7 BODY=8BITMIME\n"
		rcpt = "C: RCPT TO:<x@b.example>\nC: RCPT TO:<y@b.example>\nC: DATA\n"
		body = "C: hi\nC: ..\nC: .\n" // the message is "hi", "."
	)
	for name, test := range map[string]struct {
		script   string
		pipeline bool
		want     []int
	}{
		"lockstep": {mail + "S: 250 ok\nC: RCPT TO:<x@b.example>\nS: 250 ok\nC: RCPT TO:<y@b.example>\nS: 550 no\nC: DATA\nS: 354 go\n" + body + "S: 250 ok",
			false, []int{250, 550}},
		"sender refused":           {mail + "S: 451 later", false, []int{451, 451}},
		"nobody":                   {mail + "S: 250 ok\nC: RCPT TO:<x@b.example>\nS: 550 no\nC: RCPT TO:<y@b.example>\nS: 450 no\nC: RSET\nS: 250 ok", false, []int{550, 450}},
		"pipelined":                {mail + rcpt + "S: 250 ok\nS: 250 ok\nS: 451 no\nS: 354 go\n" + body + "S: 452 full", true, []int{452, 451}},
		"pipelined, nobody, 354":   {mail + rcpt + "S: 250 ok\nS: 550 no\nS: 550 no\nS: 354 go\nC: .\nS: 554 no", true, []int{550, 550}},
		"pipelined, nobody, 503":   {mail + rcpt + "S: 250 ok\nS: 550 no\nS: 550 no\nS: 503 no\nC: RSET\nS: 250 ok", true, []int{550, 550}},
		"pipelined, no sender":     {mail + rcpt + "S: 552 no\nS: 503 no\nS: 503 no\nS: 503 no\nC: RSET\nS: 250 ok", true, []int{552, 552}},
		"DATA refused":             {mail + rcpt + "S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 451 no\nC: RSET\nS: 250 ok", true, []int{451, 451}},
		"connection lost, no word": {mail + rcpt + "S: 250 ok\nS: 250 ok\nS: 550 no\nS: 354 go\n" + body, true, []int{0, 550}},
		"half a reply":             {mail + rcpt + "S: 250 ok\nS: 250 ok\nS: 550 no\nS: 354 go\n" + body + "S: 250-ok", true, []int{0, 550}},
		"a reply too many":         {mail + "S: 250 ok\\r\\n250 ok", false, []int{0, 0}},
		"malformed":                {mail + "S: 250ok", false, []int{0, 0}},
		"two codes":                {mail + "S: 250-ok\nS: 251 ok", false, []int{0, 0}},
		"bare LF":                  {mail + "S: 250-ok\\n250 ok", false, []int{0, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := Dial(t.Context(), SMTP, "tcp", serve(t, strings.TrimSpace(hello)+"\n"+test.script))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			c.Pipeline = test.pipeline
			replies, err := c.Send("s@a.example", []string{"x@b.example", "y@b.example"}, []byte("hi\r\n.\r\n"))
			codes := make([]int, len(replies))
			unheard := false
			for i, r := range replies {
				codes[i] = r.Code
				unheard = unheard || r.Code == 0
			}
			if !reflect.DeepEqual(codes, test.want) {
				t.Errorf("codes %v, want %v (%v)", codes, test.want, err)
			}
			if unheard != (err != nil) {
				t.Errorf("codes %v and error %v", codes, err)
			}
		})
	}
}

func TestSendLMTP(t *testing.T) {
	addr := serve(t, `S: 220 hello
		C: LHLO mail.sender.example
		S: 250 hello
		C: MAIL FROM:<>
		S: 250 ok
		C: RCPT TO:<x@b.example>
		S: 250 ok
		C: RCPT TO:<y@b.example>
		S: 550 no
		C: RCPT TO:<z@b.example>
		S: 250 ok
		C: DATA
		S: 354 go
		C: .
		S: 250 x
		S: 452 z
		C: QUIT
		S: 221 bye`)
	c, err := Dial(t.Context(), LMTP, "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	replies, err := c.Send("", []string{"x@b.example", "y@b.example", "z@b.example"}, nil)
	if got := fmt.Sprint(replies, err); got != "[250 x 550 no 452 z] <nil>" {
		t.Error(got)
	}
	if err := c.Quit(); err != nil {
		t.Error(err)
	}
}

// What parseReplyLine takes, it gives back whole.
func FuzzReplyLine(f *testing.F) {
	for _, line := range []string{"250 ok\r\n", "250-ok\r\n", "250\r\n", "2500\r\n", "250 a\rb\r\n", "199 x\r\n", "421 \r\n"} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		code, text, last, ok := parseReplyLine(line)
		if !ok {
			return
		}
		mark := map[bool]string{true: " ", false: "-"}[last]
		long, short := fmt.Sprintf("%d%s%s\r\n", code, mark, text), fmt.Sprintf("%d\r\n", code)
		if got := string(line); got != long && got != short || code < 200 || code > 559 || strings.ContainsAny(text, "\r\n") {
			t.Errorf("%q is %d, %q, last %v", line, code, text, last)
		}
	})
}
