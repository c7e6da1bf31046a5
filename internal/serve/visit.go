package serve

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"postern/mail"
	"postern/smtp"
)

// A visit is one connection, from its acceptance to its end.
type visit struct {
	begin    func(*visit) // sets conn and session; nil once it has
	conn     *smtp.Conn
	session  Session
	admitted bool
	atRest   bool           // the session waits for a command
	turn     sync.WaitGroup // done when the session stops speaking
}

// restAfter is how long a session waits for a command before it gives up its stack.
const restAfter = 20 * time.Millisecond

// run serves one connection and closes it. While the client is silent, the connection
// costs little more than the stack of this goroutine. So whatever needs more than the
// smallest stack (2 KiB) runs on another one, which ends when the session is at rest.
func (s *Sessions) run(ctx context.Context, v *visit) {
	for {
		v.turn.Go(func() { s.speak(ctx, v) })
		v.turn.Wait()
		if !v.atRest {
			return
		}
		v.conn.Await()
	}
}

// speak serves a connection until it is at rest, or ends it.
func (s *Sessions) speak(ctx context.Context, v *visit) {
	v.atRest = false
	if v.session == nil {
		v.begin(v)
		v.begin, v.conn.RestAfter = nil, restAfter
	}
	defer s.end(v)
	defer s.recover(v.session)
	if !v.admitted {
		if err := s.admit(v.conn); err != nil {
			v.session.Refuse(mail.ReplyTo(err))
			return
		}
		v.admitted = true
	}
	defer v.leave()
	err := v.session.Serve(ctx)
	v.atRest = errors.Is(err, smtp.ErrAtRest)
	if err != nil && !v.atRest {
		s.ended(v.session, err)
	}
}

// leave ends the session, unless it is only at rest.
func (v *visit) leave() {
	if !v.atRest {
		v.session.Leave()
	}
}

// end closes the connection, unless it is only at rest.
func (s *Sessions) end(v *visit) {
	if v.atRest {
		return
	}
	if v.admitted {
		s.forget(v.conn)
	}
	_ = v.conn.Close()
	v.conn.Release()
}

func (s *Sessions) ended(session Session, err error) {
	s.Log.Debug("connection ended", "client", session.Client(), "cause", err)
}

// recover confines a panic to the connection on which it happened.
func (s *Sessions) recover(session Session) {
	p := recover()
	if p == nil {
		return
	}
	s.panics.Add(1)
	s.Log.Error("panic", "client", session.Client(), "cause", p, "stack", string(debug.Stack()))
	session.Refuse(mail.Broken.Because(fmt.Errorf("panic: %v", p)))
}
