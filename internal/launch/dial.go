package launch

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"postern/internal/control"
)

// Ready is what a writer says first. The number is that of what it speaks.
const Ready = "ready 1\n"

// maxAnswer bounds what is said instead.
const maxAnswer = 500

// startTime is how long a writer may take to come.
const startTime = 20 * time.Second

// Dial returns a connection to a new writer of account, of the launcher whose
// socket is at path. A launcher that is neither root's nor ours is not believed.
func Dial(path, account string) (net.Conn, error) {
	conn, err := net.DialTimeout("unix", path, startTime)
	if err != nil {
		if control.NotRunning(err) {
			err = fmt.Errorf("%w: does postern launch run?", err)
		}
		return nil, fmt.Errorf("launcher: %w", err)
	}
	if err := ask(conn.(*net.UnixConn), account); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("launcher: %w", err)
	}
	return conn, nil
}

func ask(conn *net.UnixConn, account string) error {
	switch uid, err := control.PeerUID(conn); {
	case err != nil:
		return err
	case uid != 0 && uid != os.Geteuid():
		return fmt.Errorf("who listens there is the user %d, and neither root nor this one", uid)
	}
	_ = conn.SetDeadline(time.Now().Add(startTime))
	_, err := io.WriteString(conn, account+"\n")
	if err != nil && !errors.Is(err, unix.EPIPE) { // with that it may have said why
		return err
	}
	switch answer, err := readLine(conn, maxAnswer); {
	case errors.Is(err, io.EOF), errors.Is(err, unix.ECONNRESET):
		return errors.New("it hung up: its log says why; may this user ask it (mda.launch_users)?")
	case err != nil:
		return err
	case answer+"\n" == Ready:
		return conn.SetDeadline(time.Time{})
	case strings.HasPrefix(answer, "ready "):
		return fmt.Errorf("the writer is of another version (%q): restart postern launch, and the delivery agent", answer)
	default:
		return errors.New(answer)
	}
}
