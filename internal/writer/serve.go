package writer

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime/debug"
	"sync"
	"time"

	"postern/mailbox"
)

// idleTime is how long an agent may say nothing. It gives up what it does not need
// long before; this is for one that hangs.
const idleTime = 10 * time.Minute

// A Box is what a Server writes into.
type Box interface {
	mailbox.Mailbox
	// Room returns mailbox.ErrOverQuota if there is none for size octets.
	Room(size int64) error
}

// A Server serves one connection.
type Server struct {
	// Open returns the mailbox that s means, which calls warned as a
	// mailbox.Quota does.
	Open func(s Settings, warned func(percent int, u mailbox.Usage)) (Box, error)

	conn     net.Conn
	r        *bufio.Reader
	w        *bufio.Writer
	buf      []byte
	delivery mailbox.Delivery // nil: there is none
	failed   error            // of its data; the next question is answered with it
	reached  answer

	mu      sync.Mutex
	waiting bool // for a frame that begins something
}

// Serve serves conn until its other side closes it, which is no error, or until ctx
// has ended and no delivery is under way. What was not committed is aborted.
func (s *Server) Serve(ctx context.Context, conn net.Conn) error {
	s.conn, s.w = conn, bufio.NewWriter(conn)
	s.r, s.buf = bufio.NewReaderSize(conn, headerSize+maxFrame), make([]byte, maxFrame)
	defer conn.Close()
	defer s.abort()
	defer context.AfterFunc(ctx, s.interrupt)()
	for s.mayWait(ctx) {
		kind, payload, err := readFrame(s.r, s.buf)
		s.wait(false)
		if err == nil {
			err = s.handle(kind, payload)
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF) && s.delivery == nil, ctx.Err() != nil && s.delivery == nil:
			return nil
		default:
			return err
		}
	}
	return nil
}

// mayWait reports whether there is anything more to serve.
func (s *Server) mayWait(ctx context.Context) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.conn.SetDeadline(time.Now().Add(idleTime)) // fails where reading does
	if s.waiting = s.delivery == nil; s.waiting && ctx.Err() != nil {
		return false
	}
	return true
}

func (s *Server) wait(waiting bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = waiting
}

// interrupt ends the wait for another delivery.
func (s *Server) interrupt() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting {
		_ = s.conn.SetDeadline(time.Now())
	}
}

// handle does what a frame says. Its error ends the connection.
func (s *Server) handle(kind byte, payload []byte) error {
	switch {
	case kind == frameBegin && s.delivery == nil:
		return s.answer(s.begin(payload))
	case kind == frameRoom && s.delivery == nil:
		return s.answer(s.room(payload))
	case s.delivery == nil:
		return fmt.Errorf("%w: %q without a delivery", errFrame, kind)
	case kind == frameData:
		s.write(payload)
		return nil
	case kind == frameSync:
		return s.answer(s.sync())
	case kind == frameCommit:
		return s.answer(s.commit())
	case kind == frameAbort:
		s.abort()
		return nil
	}
	return fmt.Errorf("%w: %q within a delivery", errFrame, kind)
}

// answer tells the agent what came of it. After an error there is no delivery.
func (s *Server) answer(err error) error {
	kind, v := byte(frameOK), any(s.reached)
	s.reached = answer{}
	if err != nil {
		s.abort()
		kind, v = frameError, faultOf(err)
	}
	payload, err := encode(v)
	if err != nil {
		return err
	}
	if err := writeFrame(s.w, kind, payload); err != nil {
		return err
	}
	return s.w.Flush()
}

func (s *Server) open(payload []byte) (Box, request, error) {
	var q request
	if err := json.Unmarshal(payload, &q); err != nil {
		return nil, q, fmt.Errorf("%w: %w", errFrame, err)
	}
	box, err := s.Open(q.Settings, func(percent int, u mailbox.Usage) { s.reached = answer{percent, u} })
	return box, q, err
}

func (s *Server) begin(payload []byte) (err error) {
	defer recoverTo(&err)
	box, q, err := s.open(payload)
	if err != nil {
		return err
	}
	s.failed = nil
	d, err := box.Begin(mailbox.Arrival{Sender: q.Sender, Time: q.Time})
	if err != nil {
		return err
	}
	s.delivery = d
	return nil
}

func (s *Server) room(payload []byte) (err error) {
	defer recoverTo(&err)
	box, q, err := s.open(payload)
	if err != nil {
		return err
	}
	return box.Room(q.Size)
}

// write keeps an error for the question that follows: the agent sends the message
// in one go.
func (s *Server) write(p []byte) {
	defer recoverTo(&s.failed)
	if s.failed == nil {
		_, s.failed = s.delivery.Write(p)
	}
}

func (s *Server) sync() (err error) {
	defer recoverTo(&err)
	if s.failed != nil {
		return s.failed
	}
	return s.delivery.Sync()
}

func (s *Server) commit() (err error) {
	defer recoverTo(&err)
	if s.failed != nil {
		return s.failed
	}
	if err := s.delivery.Commit(); err != nil {
		return err
	}
	s.abort() // does nothing to what is committed
	return nil
}

func (s *Server) abort() {
	if s.delivery != nil {
		s.delivery.Abort()
		s.delivery = nil
	}
}

// recoverTo makes an error of a panic: the agent's log is the one that is read.
func recoverTo(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("writer: panic: %v\n%s", p, debug.Stack())
	}
}
