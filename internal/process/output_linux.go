package process

import (
	"bufio"
	"log/slog"
	"os"
	"time"

	"github.com/arcinit/arcinit/internal/guarded"
	"github.com/arcinit/arcinit/internal/logs"
)

// maxOutput is the size, in bytes, at which a line of a service is split. With
// the service's name it fits into a record of the kernel log.
const maxOutput = 800

// output is the pipe that a service writes to. Every process of the service gets
// the same pipe. This process keeps both ends open, because children that a
// service leaves behind may go on writing. The zero output is that of a service
// whose output is not captured.
type output struct {
	write  *os.File
	copied chan struct{} // closed when all has been copied to the log
}

// newOutput makes the pipe and copies its lines to the sinks until finish.
func newOutput(name string, sinks []logs.Sink, log *slog.Logger, after func(time.Duration) <-chan time.Time) (output, error) {
	read, write, err := os.Pipe()
	if err != nil {
		return output{}, err
	}
	o := output{write: write, copied: make(chan struct{})}
	guarded.RestartOnPanic(log, "output of "+name, after, func() {
		copyLines(read, func(level slog.Level, line string) {
			for _, s := range sinks {
				s.Emit(time.Now(), level, name+": "+line)
			}
		})
		_ = read.Close()
		close(o.copied)
	})
	return o, nil
}

// copyLines passes on every line until no process can write to the pipe any more.
// The rest of a line that was split has the level of its beginning.
func copyLines(pipe *os.File, emit func(level slog.Level, line string)) {
	reader := bufio.NewReaderSize(pipe, maxOutput)
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

// endLine ends the line that a process left unfinished.
func (o output) endLine() { _, _ = o.write.WriteString("\n") }

// finish closes the pipe and waits until everything written to it was copied.
func (o output) finish() {
	if o.write != nil {
		_ = o.write.Close()
		<-o.copied
	}
}
