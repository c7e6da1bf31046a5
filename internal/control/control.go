// Package control is the socket through which the commands speak with a running
// server: HTTP with JSON over a UNIX socket, which root and the user that the
// server runs as may open, and nobody else. `curl --unix-socket` reads it too.
package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	maxRequest  = 1 << 20
	maxResponse = 64 << 20
)

// A Verb is something that the server can be asked for. Its argument is what
// the caller sent, JSON or nothing; its answer is sent back as JSON.
type Verb func(ctx context.Context, arg json.RawMessage) (answer any, err error)

// Serve answers calls on l until ctx ends, and closes it.
func Serve(ctx context.Context, l *net.UnixListener, verbs map[string]Verb) error {
	mux := http.NewServeMux()
	for name, verb := range verbs {
		mux.HandleFunc("/"+name, func(w http.ResponseWriter, r *http.Request) { answer(w, r, verb) })
	}
	srv := &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		MaxHeaderBytes:    16 << 10,
	}
	defer context.AfterFunc(ctx, func() { _ = srv.Close() })()
	if err := srv.Serve(peerListener{l}); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("control socket: %w", err)
	}
	return nil
}

func answer(w http.ResponseWriter, r *http.Request, verb Verb) {
	arg, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	var result any
	if err == nil {
		result, err = verb(r.Context(), arg)
	}
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		w.WriteHeader(http.StatusUnprocessableEntity)
		result = failure{Error: err.Error()}
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	_ = enc.Encode(result) // nobody is left to tell
}

// A failure is the answer of a verb that ended in an error.
type failure struct {
	Error string `json:"error"`
}

// Call asks the server at the socket path for a verb, with arg as its argument
// unless that is nil, and stores the answer in result unless that is nil. An
// error of the verb itself comes back with its text.
func Call(ctx context.Context, path, verb string, arg, result any) error {
	asked := func(err error) error {
		if err == nil {
			return nil
		}
		return fmt.Errorf("ask the server at %s for %s: %w", path, verb, err)
	}
	status, answer, err := post(ctx, path, verb, arg)
	var f failure
	switch {
	case err != nil:
		return asked(err)
	case status == http.StatusNotFound:
		return asked(errors.New("it does not know that: is it another version?"))
	case status != http.StatusOK && json.Unmarshal(answer, &f) != nil:
		return asked(fmt.Errorf("%d %s: %s", status, http.StatusText(status), answer))
	case status != http.StatusOK:
		return errors.New(f.Error)
	case result == nil:
		return nil
	}
	return asked(json.Unmarshal(answer, result))
}

// post sends the server at the socket path a verb with its argument, and returns
// what it answers.
func post(ctx context.Context, path, verb string, arg any) (status int, answer []byte, err error) {
	body, err := json.Marshal(arg)
	if err != nil {
		return 0, nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://postern/"+verb, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(resp.Body, maxResponse))
	return resp.StatusCode, answer, err
}

// A peerListener accepts connections of root and of our own user.
type peerListener struct{ *net.UnixListener }

// Accept implements net.Listener.
func (l peerListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.AcceptUnix()
		if err != nil {
			return nil, err
		}
		uid, err := PeerUID(conn)
		if err == nil && (uid == 0 || uid == os.Geteuid()) {
			return conn, nil
		}
		_ = conn.Close()
	}
}

// PeerUID returns the user that the peer of conn ran as when it connected, as the
// kernel knows it (SO_PEERCRED, unix(7)).
func PeerUID(conn *net.UnixConn) (int, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return -1, err
	}
	var (
		cred    *unix.Ucred
		credErr error
	)
	err = raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err := errors.Join(err, credErr); err != nil {
		return -1, fmt.Errorf("credentials of the peer: %w", err)
	}
	return int(cred.Uid), nil
}

// NotRunning reports whether err, of Call, says that no server listens there.
func NotRunning(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ECONNREFUSED)
}
