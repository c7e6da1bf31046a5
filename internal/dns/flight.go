package dns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
)

// flights are the questions that are being asked. Equal questions share one
// flight. It belongs to none of its callers: one whose context ends leaves
// without harm to the others, and the answer of a flight that all have left
// still reaches the cache.
type flights struct {
	resolve func(ctx context.Context, q question) outcome
	slots   chan struct{} // one for each flight that may be in the air
	tasks   *tasks

	mu     sync.Mutex
	byKey  map[question]*flight
	shared atomic.Uint64 // callers who found their question already asked
	left   atomic.Uint64 // callers whose context ended first
}

type flight struct {
	done    chan struct{} // closed when outcome is set
	outcome outcome
}

// do returns the outcome of q as soon as somebody's flight brings it, or says
// that ctx has ended.
func (f *flights) do(ctx context.Context, q question) outcome {
	fl, err := f.join(ctx, q)
	if err != nil {
		return outcome{err: fmt.Errorf("%w: %w", ErrTemporary, err)}
	}
	select {
	case <-fl.done:
		return fl.outcome
	case <-ctx.Done():
		f.left.Add(1)
		return outcome{err: fmt.Errorf("%w: %w", ErrTemporary, context.Cause(ctx))}
	}
}

// join returns the flight of q, which it starts if there is none. It waits for
// a slot only in that case.
func (f *flights) join(ctx context.Context, q question) (*flight, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx) // nobody would hear the answer
	}
	f.mu.Lock()
	fl := f.byKey[q]
	f.mu.Unlock()
	if fl != nil {
		f.shared.Add(1)
		return fl, nil
	}
	select {
	case f.slots <- struct{}{}:
	case <-ctx.Done():
		f.left.Add(1)
		return nil, fmt.Errorf("too many questions in flight: %w", context.Cause(ctx))
	}
	fl, mine, err := f.start(q)
	if !mine {
		<-f.slots
	}
	return fl, err
}

// start returns the flight of q, and whether it is a new one, which gives its
// slot back when it ends.
func (f *flights) start(q question) (fl *flight, mine bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if fl := f.byKey[q]; fl != nil {
		f.shared.Add(1)
		return fl, false, nil
	}
	fl = &flight{done: make(chan struct{}), outcome: outcome{err: errPanic}}
	err = f.tasks.start(func(ctx context.Context) {
		defer f.end(q, fl)
		fl.outcome = f.resolve(ctx, q)
	})
	if err != nil {
		return nil, false, err
	}
	f.byKey[q] = fl
	return fl, true, nil
}

func (f *flights) end(q question, fl *flight) {
	f.mu.Lock()
	delete(f.byKey, q)
	f.mu.Unlock()
	close(fl.done)
	<-f.slots
}

// size returns the number of questions in the air.
func (f *flights) size() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.byKey)
}

// tasks are goroutines that outlive the calls which start them, but not their
// owner. A panic in one of them, over what a stranger has put into the DNS, is
// logged, and does not end the program.
type tasks struct {
	log    *slog.Logger
	run    func(task func(context.Context)) // gives it the context that cancel ends
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu     sync.Mutex
	closed bool
}

var (
	errClosed = errors.New("the resolver is closed")
	errPanic  = fmt.Errorf("%w: panic over the answer", ErrTemporary)
)

func newTasks(log *slog.Logger) *tasks {
	ctx, cancel := context.WithCancel(context.Background())
	t := &tasks{log: log, cancel: cancel}
	t.run = func(task func(context.Context)) {
		defer t.recover()
		task(ctx)
	}
	return t
}

func (t *tasks) recover() {
	if p := recover(); p != nil {
		t.log.Error("panic in the DNS resolver", "panic", p, "stack", string(debug.Stack()))
	}
}

// start runs task in a goroutine of its own, unless all is over.
func (t *tasks) start(task func(context.Context)) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return errClosed
	}
	t.wg.Go(func() { t.run(task) })
	return nil
}

// close ends the context of all tasks and waits for them.
func (t *tasks) close() {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	t.cancel()
	t.wg.Wait()
}
