package process

import (
	"bufio"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/arcinit/arcinit/internal/guarded"
	"github.com/arcinit/arcinit/internal/logs"
	"golang.org/x/sys/unix"
)

// maxOutput is how much of a line of a service goes into one line of the log;
// the rest follows as further ones. With its tag it fits into a record of the
// kernel log.
const maxOutput = 800

// output is the pipe that a service writes to in all its lives, and the log that
// each of its lines goes to. Both ends stay open here: what a service leaves
// running may write on, and a new life needs no new pipe.
type output struct {
	read, write *os.File
	copied      chan struct{} // closed when all has been
}

// newOutput makes a pipe and copies the lines that come out of it to the sinks,
// for as long as this process lives.
func newOutput(name string, sinks []logs.Sink, log *slog.Logger, after func(time.Duration) <-chan time.Time) (*output, error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("pipe for the output of %s: %w", name, err)
	}
	// Only the end that is read here: the service's own is to block.
	if err := unix.SetNonblock(fds[0], true); err != nil {
		return nil, errors.Join(fmt.Errorf("pipe for the output of %s: %w", name, err), unix.Close(fds[0]), unix.Close(fds[1]))
	}
	o := &output{
		read:  os.NewFile(uintptr(fds[0]), "output of "+name),
		write: os.NewFile(uintptr(fds[1]), "output of "+name),

		copied: make(chan struct{}),
	}
	guarded.RestartOnPanic(log, "output of "+name, after, func() {
		o.copyLines(func(level slog.Level, line string) {
			for _, s := range sinks {
				s.Emit(time.Now(), level, name+": "+line)
			}
		})
		close(o.copied)
	})
	return o, nil
}

// copyLines passes on each line that the service writes, until the pipe's write
// end is closed everywhere. The rest of a line that is longer than maxOutput
// has the level of its beginning.
func (o *output) copyLines(emit func(level slog.Level, line string)) {
	reader := bufio.NewReaderSize(o.read, maxOutput)
	for level, more := slog.LevelInfo, false; ; {
		line, isPrefix, err := reader.ReadLine()
		if err != nil {
			return
		}
		text := string(line)
		if !more {
			level, text = logs.ParsePrefix(text)
		}
		if text != "" {
			emit(level, text)
		}
		more = isPrefix
	}
}

// finish waits until all that was written has been copied. Nothing can be written
// to o from now on.
func (o *output) finish() {
	if o != nil {
		_ = o.write.Close()
		<-o.copied
	}
}

// writeEnd is what the service is given; there may be none.
func (o *output) writeEnd() *os.File {
	if o == nil {
		return nil
	}
	return o.write
}

// endLine ends a line that a life of the service left unfinished.
func (o *output) endLine() {
	if o != nil {
		_, _ = o.write.Write([]byte("\n"))
	}
}
