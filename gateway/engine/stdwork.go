package engine

// task is what a worker is asked for.
type task uint8

const (
	jobOpen task = iota
	jobPump
	jobClose
)

// result is how it went.
type result struct {
	outcome outcome
	err     error
}

// job asks a worker for one piece of work on one connection, whose goroutine waits for it.
type job struct {
	c    *stdConn
	task task
	err  error // jobClose: the cause
	done chan result
}

// do has a worker perform the task and waits for it.
func (e *std) do(c *stdConn, t task, cause error) result {
	j, ok := e.spare.Get().(*job)
	if !ok {
		j = &job{done: make(chan result, 1)}
	}
	j.c, j.task, j.err = c, t, cause
	e.jobs <- j
	res := <-j.done
	j.c, j.err = nil, nil
	e.spare.Put(j)
	return res
}

// work is one worker. It ends when Shutdown closes jobs.
func (e *std) work() {
	w := newWindow()
	for j := range e.jobs {
		j.done <- j.run(w)
	}
}

func (j *job) run(w *window) result {
	switch j.task {
	case jobOpen:
		if err := j.c.srv.open(j.c); err != nil {
			return result{outcome: ended, err: err}
		}
		return result{outcome: again}
	case jobClose:
		j.c.srv.close(j.c, j.err)
		return result{outcome: ended}
	default:
		// Eager, because the end of the stream may have come with the bytes, and is no news of its own then.
		out, err := w.pump(j.c, true)
		return result{outcome: out, err: err}
	}
}
