package peer

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// ready is how long a peer may take to start or to stop.
const ready = 20 * time.Second

// A Process is a program that a test has started. When the test ends it is
// stopped, and if the test failed, the end of its output is logged.
type Process struct {
	t    testing.TB
	cmd  *exec.Cmd
	name string
	log  string // the file that takes stdout and stderr

	done     chan struct{} // closed when the program has ended
	expected atomic.Bool   // the test itself has ended it
}

// Start starts cmd, whose Stdout and Stderr it takes for itself unless they
// are set. The program is told to end when the test binary dies.
func Start(t testing.TB, cmd *exec.Cmd) *Process {
	t.Helper()
	p := &Process{t: t, cmd: cmd, name: filepath.Base(cmd.Path), done: make(chan struct{})}
	out, err := os.CreateTemp(t.TempDir(), p.name+"-*.log")
	if err != nil {
		t.Fatalf("peer: %v", err)
	}
	defer out.Close() // the program has its own
	p.log = out.Name()
	if cmd.Stdout == nil {
		cmd.Stdout = out
	}
	if cmd.Stderr == nil {
		cmd.Stderr = out
	}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGTERM
	if err := cmd.Start(); err != nil {
		t.Fatalf("peer: start %s: %v", p.name, err)
	}
	go func() {
		cmd.Wait() // how it ended is in cmd.ProcessState
		close(p.done)
	}()
	t.Cleanup(p.finish)
	return p
}

// AsUser makes cmd run as the numeric user and group id, without further
// groups, and returns it. Only root may start it.
func AsUser(cmd *exec.Cmd, id uint32) *exec.Cmd {
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: id, Gid: id}}
	return cmd
}

// PID returns the process ID.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// WaitListen waits until the address accepts a connection; network is "tcp"
// or "unix". The test fails if the program ends before, or after 20 seconds.
func (p *Process) WaitListen(network, addr string) {
	p.t.Helper()
	p.wait("listen on "+addr, func() bool {
		nc, err := net.Dial(network, addr)
		if err != nil {
			return false
		}
		nc.Close()
		return true
	})
}

// WaitOutput waits until the program has written text.
func (p *Process) WaitOutput(text string) {
	p.t.Helper()
	p.wait("write "+text, func() bool { return strings.Contains(p.Output(), text) })
}

func (p *Process) wait(what string, ok func() bool) {
	p.t.Helper()
	for deadline := time.Now().Add(ready); !ok(); {
		switch {
		case p.Ended():
			p.t.Fatalf("peer: %s ended (%v) before it came to %s", p.name, p.cmd.ProcessState, what)
		case time.Now().After(deadline):
			p.t.Fatalf("peer: %s took over %v to %s", p.name, ready, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// Ended tells whether the program has ended.
func (p *Process) Ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Signal sends sig to the program alone, not to its children. A program that
// has ended already is no mistake.
func (p *Process) Signal(sig os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Errorf("peer: signal %s: %v", p.name, err)
	}
}

// Kill ends the program as a crash would, with SIGKILL, and waits for its end.
func (p *Process) Kill() {
	p.t.Helper()
	p.expected.Store(true)
	p.Signal(syscall.SIGKILL)
	<-p.done
}

// Stop asks the program to end with SIGTERM, waits for it, and returns how it
// ended: nil for exit status 0. One that has not ended after 20 seconds is
// killed, which is an error.
func (p *Process) Stop() error {
	p.t.Helper()
	p.expected.Store(true)
	p.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(ready):
		p.Kill()
		return fmt.Errorf("%s did not end within %v of SIGTERM", p.name, ready)
	}
	if !p.cmd.ProcessState.Success() {
		return fmt.Errorf("%s: %v", p.name, p.cmd.ProcessState)
	}
	return nil
}

// Output returns what the program has written so far, where Start took it.
func (p *Process) Output() string {
	b, err := os.ReadFile(p.log)
	if err != nil {
		return fmt.Sprintf("(no output: %v)", err)
	}
	return string(b)
}

// finish ends the program with the test. A server that ended by itself before
// has crashed, and the test has not noticed.
func (p *Process) finish() {
	crashed := p.Ended() && !p.expected.Load() && !p.cmd.ProcessState.Success()
	if crashed {
		p.t.Errorf("peer: %s ended by itself: %v", p.name, p.cmd.ProcessState)
	}
	p.expected.Store(true)
	p.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(ready):
		p.t.Errorf("peer: %s did not end within %v of SIGTERM", p.name, ready)
		p.Kill()
	}
	if p.t.Failed() {
		p.t.Logf("output of %s:\n%s", p.name, tail(p.Output(), 100))
	}
}

// tail returns the last n lines of s.
func tail(s string, n int) string {
	s = strings.TrimRight(s, "\n")
	i := len(s)
	for range n {
		i = strings.LastIndexByte(s[:i], '\n')
		if i < 0 {
			return s
		}
	}
	return s[i+1:]
}

// run runs a program to its end, and fails the test unless it succeeds.
func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	path := Need(t, name)[0]
	cmd := exec.Command(path, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("peer: %s %s: %v\n%s", name, strings.Join(args, " "), err, out.Bytes())
	}
	return out.String()
}
