package front

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strconv"
	"time"

	"github.com/hibiken/asynq"
)

// taskPush is the type of the one kind of task.
const taskPush = "push"

// Tuning of the queue beside its number of workers; its defaults are 1 s, 5 s, and 15 to 45 s.
const (
	checkInterval = 5 * time.Millisecond
	delayedCheck  = time.Second
	retryDelay    = time.Second
)

// asynqFront keeps texts and statuses in Redis; a worker of the queue pushes a text to its terminal
// and ends its task when the terminal has acknowledged it and the status is stored.
type asynqFront struct {
	*redisStatus

	client    *asynq.Client
	terminals *terminals
}

// push is the payload of a task.
type push struct {
	ID     int64  `json:"id"`
	Device int    `json:"device"`
	Text   string `json:"text"`
}

func newAsynq(ctx context.Context, o Options, log *slog.Logger) (backend, error) {
	a := &asynqFront{redisStatus: newRedisStatus(ctx, o.Redis)}
	var err error
	if a.terminals, err = listenTerminals(ctx, o.Gateway, log); err != nil {
		return nil, err
	}
	config := asynq.Config{
		Concurrency: o.Workers, LogLevel: asynq.ErrorLevel,
		// Somebody who is away is no failure: it is tried again as often as needed.
		IsFailure: func(err error) bool {
			return !errors.Is(err, errAway) && !errors.Is(err, errBusy)
		},
	}
	if o.Workers > 0 {
		config.TaskCheckInterval, config.DelayedTaskCheckInterval = checkInterval, delayedCheck
		config.RetryDelayFunc = func(int, error, *asynq.Task) time.Duration { return retryDelay }
	}
	redis := asynq.RedisClientOpt{Addr: o.Redis}
	a.client = asynq.NewClient(redis)
	if err := asynq.NewServer(redis, config).Start(asynq.HandlerFunc(a.work)); err != nil {
		return nil, fmt.Errorf("starting the workers: %w", err)
	}
	return a, nil
}

func (a *asynqFront) send(ctx context.Context, id int64, device int, text string) error {
	if err := a.put(ctx, id, device, text); err != nil {
		return err
	}
	payload, err := json.Marshal(push{id, device, text})
	if err != nil {
		return fmt.Errorf("a task: %w", err)
	}
	// Never given up for the number of its trials: the others do not either.
	_, err = a.client.EnqueueContext(ctx, asynq.NewTask(taskPush, payload),
		asynq.MaxRetry(math.MaxInt32))
	if err != nil {
		return fmt.Errorf("queueing: %w", err)
	}
	return nil
}

// work does one task.
func (a *asynqFront) work(ctx context.Context, t *asynq.Task) error {
	var p push
	if err := json.Unmarshal(t.Payload(), &p); err != nil {
		return fmt.Errorf("a task: %w: %w", err, asynq.SkipRetry)
	}
	if err := a.terminals.push(ctx, p.Device, p.Text); err != nil {
		return err
	}
	stored := make(chan error, 1)
	a.deliver(ctx, strconv.FormatInt(p.ID, 10), stored)
	return outcome(ctx, stored)
}
