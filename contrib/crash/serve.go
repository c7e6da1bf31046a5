package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/rpc"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
)

// inside is the variable that names the folder to work in, and tells that this
// is the process that uses the disks, not the one that has them.
const inside = "POSTERN_CRASH_DIR"

// serve has the disks, for another process of this program, which it starts and
// waits for. That one is in a mount name space of its own: whatever it mounts is
// gone when it ends, however it ends.
func serve() (status int) {
	stopped, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	dir, err := os.MkdirTemp("", "postern-crash-")
	if err != nil {
		fatal(err)
	}
	err = serveIn(stopped, dir)
	if err = errors.Join(err, os.RemoveAll(dir)); err == nil {
		return 0
	}
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || stopped.Err() != nil {
		fmt.Fprintln(os.Stderr, "crash:", err)
	}
	return 1
}

func serveIn(stopped context.Context, dir string) error {
	if err := os.Mkdir(dir+"/disks", 0o700); err != nil {
		return err
	}
	export, err := NewExport(dir + "/disks")
	if err != nil {
		return fmt.Errorf("mount with FUSE: %w", err)
	}
	listener, err := net.Listen("unix", dir+"/rpc")
	if err != nil {
		return errors.Join(err, export.Close())
	}
	server := rpc.NewServer()
	err = server.Register(&Disks{export: export, states: make(map[string]*states)})
	go server.Accept(listener) // until the end of this process
	if err == nil {
		err = work(stopped, dir)
	}
	return errors.Join(err, export.Close())
}

// work runs the process that uses the disks.
func work(stopped context.Context, dir string) error {
	cmd := exec.CommandContext(stopped, "/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"="+dir)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	return cmd.Run()
}
