package process

import (
	"bufio"
	"log/slog"
	"os"
	"time"

	"github.com/arcinit/arcinit/internal/guarded"
	"github.com/arcinit/arcinit/internal/logs"
)

// maxOutput is the size, in bytes, at which a line of a service is split. With the service's name it fits into a record of the kernel log.
const maxOutput = 800

// capture makes the pipe that all processes of a service write to, and copies its lines to the logs. This
// process keeps both ends open, because children that a service leaves behind may go on writing.
func (s *Supervisor) capture(v *supervised) error {
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	v.output, v.copied = write, make(chan struct{})
	guarded.RestartOnPanic(s.Log, "output of "+v.Name, s.After, func() {
		v.copyLines(read)
		_ = read.Close()
		close(v.copied)
	})
	return nil
}

// copyLines logs every line until no process can write to the pipe any more. The rest of a line that was split has the level of its beginning.
func (v *supervised) copyLines(pipe *os.File) {
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
		more = isPrefix
		if text == "" {
			continue
		}
		text = v.Name + ": " + logs.Escape(text)
		for _, sink := range v.Sinks {
			sink.Emit(time.Now(), level, text)
		}
	}
}

// finishOutput waits until the output of all services, which have ended, is in the logs.
func (s *Supervisor) finishOutput() {
	for _, v := range s.services() {
		if v.output != nil {
			_ = v.output.Close()
			<-v.copied
		}
	}
}
