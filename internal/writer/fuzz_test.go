package writer

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"testing"

	"postern/internal/dialogue"
)

// Whatever a writer hears, it commits what a plain reading of the frames says, and
// leaves nothing open.
func FuzzServe(f *testing.F) {
	frames := func(kinds string, payload string) []byte {
		var b bytes.Buffer
		for _, kind := range []byte(kinds) {
			text := payload
			if kind == frameBegin || kind == frameRoom {
				text = `{"Sender":"a"}`
			}
			_ = writeFrame(&b, kind, []byte(text))
		}
		return b.Bytes()
	}
	f.Add(frames("BDDSCBDSARBSC", "text"))
	f.Add(frames("BC", ""))
	f.Add(frames("BDSD", ""))
	f.Add([]byte("B\x00\x01\x00\x01"))
	f.Add([]byte("B\x00\x00\x00\x02{]"))
	f.Fuzz(func(t *testing.T, heard []byte) {
		box := &fakeBox{}
		_ = (&Server{Open: box.opener}).Serve(context.Background(), &dialogue.Recital{Says: string(heard)})
		if box.open != 0 {
			t.Errorf("%d deliveries are open", box.open)
		}
		want := model(heard)
		if len(want) != len(box.committed) {
			t.Fatalf("%d commits, want %d", len(box.committed), len(want))
		}
		for i := range want {
			if want[i] != box.committed[i] {
				t.Errorf("commit %d: %q, want %q", i, box.committed[i], want[i])
			}
		}
	})
}

// model returns the messages that the frames commit, in the plainest way.
func model(heard []byte) (committed []string) {
	state, text := "", ""
	for len(heard) >= 5 {
		kind, n := heard[0], int(heard[1])<<24|int(heard[2])<<16|int(heard[3])<<8|int(heard[4])
		heard = heard[5:]
		if n > 65536 || n > len(heard) {
			break
		}
		payload := heard[:n]
		heard = heard[n:]
		switch {
		case state == "" && kind == 'B':
			if (&Server{Open: (&fakeBox{}).opener}).begin(payload) == nil {
				state, text = "open", ""
			}
		case state == "" && kind == 'R':
		case state == "":
			return committed
		case kind == 'A':
			state = ""
		case kind == 'D' && state == "open":
			text += string(payload)
		case kind == 'D':
			state = "failed"
		case kind == 'S' && state == "open":
			state = "synced"
		case kind == 'S', kind == 'C' && state != "synced":
			state = ""
		case kind == 'C':
			committed, state = append(committed, text), ""
		default:
			return committed
		}
	}
	return committed
}

// What is written as a frame is read back, and no more of it.
func FuzzFrame(f *testing.F) {
	f.Add(byte('D'), []byte("text"))
	f.Add(byte(0), []byte{})
	f.Fuzz(func(t *testing.T, kind byte, payload []byte) {
		var b bytes.Buffer
		if err := writeFrame(&b, kind, payload); err != nil {
			t.Fatal(err)
		}
		b.WriteByte('x')
		r := bufio.NewReader(&b)
		got, back, err := readFrame(r, make([]byte, maxFrame))
		if len(payload) > maxFrame {
			if !errors.Is(err, errFrame) {
				t.Fatal(err)
			}
			return
		}
		if rest, _ := io.ReadAll(r); err != nil || got != kind || !bytes.Equal(back, payload) || string(rest) != "x" {
			t.Errorf("%q %q, %v, and then %q", got, back, err, rest)
		}
	})
}

// An answer that nobody understands is an error of the delivery, and of no more.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte("O\x00\x00\x00\x02{}"))
	f.Add([]byte("E\x00\x00\x00\x15{\"Text\":\"x\",\"Errno\":1}"))
	f.Fuzz(func(t *testing.T, said []byte) {
		conn := &dialogue.Recital{Says: string(said)}
		p := &Pool{Dial: func(string) (net.Conn, error) { return conn, nil }}
		err := deliver(&Mailbox{Pool: p, Account: "bob"}, "x")
		p.Close()
		if len(p.busy) > 0 || len(p.lanes) > 0 {
			t.Error("a place is not given back")
		}
		if kinds := answers(said); (err == nil) != (kinds >= 3) {
			t.Errorf("%d answers of ok, and %v", kinds, err)
		}
	})
}

// answers returns with how many good answers said begins.
func answers(said []byte) (n int) {
	r := bufio.NewReader(bytes.NewReader(said))
	for {
		kind, payload, err := readFrame(r, make([]byte, maxFrame))
		if err != nil || kind != frameOK || !isAnswer(payload) {
			return n
		}
		n++
	}
}

func isAnswer(payload []byte) bool {
	var a answer
	return json.Unmarshal(payload, &a) == nil
}
