package redisstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"trackchat/queue"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

// outcome says what an error means for the command that met it.
type outcome int

const (
	outcomeFinal   outcome = iota // answered; asking again changes nothing
	outcomeRetry                  // not executed, and soon may be
	outcomeMoved                  // not executed here; the map of the cluster is out of date
	outcomeScript                 // not executed; the script has to be loaded again
	outcomeUnknown                // may have been executed
)

// errConnect marks errors of a connection that was never ready for use, so that nothing was sent
// over it.
var errConnect = errors.New("preparing the connection")

// classify says what err of a command means and gives it the contract's name.
func classify(err error) (outcome, error) {
	var re redis.Error
	if errors.As(err, &re) && !errors.Is(err, errConnect) {
		return judgeReply(re.Error(), err)
	}
	var op *net.OpError
	switch {
	case errors.Is(err, queue.ErrLost):
		return outcomeFinal, err
	case errors.Is(err, errConnect), errors.Is(err, redis.ErrPoolTimeout), errors.Is(err,
		redis.ErrPoolExhausted), errors.Is(err, redis.ErrClosed),
		errors.As(err, &op) && op.Op == "dial":
		return outcomeRetry, fmt.Errorf("%w: %w", queue.ErrUnavailable, err)
	default:
		return outcomeUnknown, fmt.Errorf("%w: %w", queue.ErrUnavailable, err)
	}
}

// judgeReply is judge for what Redis itself has answered.
func judgeReply(reply string, err error) (outcome, error) {
	code, _, _ := strings.Cut(reply, " ")
	switch code {
	case "NOSCRIPT":
		return outcomeScript, fmt.Errorf("%w: %w", queue.ErrUnavailable, err)
	case "MOVED", "ASK", "READONLY", "CLUSTERDOWN":
		return outcomeMoved, fmt.Errorf("%w: %w", queue.ErrUnavailable, err)
	case "LOADING", "MASTERDOWN", "TRYAGAIN", "BUSY", "NOREPLICAS":
		return outcomeRetry, fmt.Errorf("%w: %w", queue.ErrUnavailable, err)
	case "LOST":
		return outcomeFinal, errLost
	case "OOM", "MISCONF":
		return outcomeFinal, fmt.Errorf("%w: %w", queue.ErrOverloaded, err)
	case "STALE":
		return outcomeFinal, fmt.Errorf("%w: %w", queue.ErrUnknownOutcome, err)
	case "WRONGTYPE", "ERR":
		return outcomeFinal, fmt.Errorf("%w: %w", queue.ErrCorrupt, err)
	default: // NOAUTH, NOPERM, WRONGPASS, MAXCLIENTS …
		return outcomeFinal, fmt.Errorf("%w: %w", queue.ErrUnavailable, err)
	}
}

// clientLog has the Redis client write to the service's log.
type clientLog struct{ log *zap.Logger }

// Printf takes what the client has to say, which is only ever trouble.
func (l clientLog) Printf(_ context.Context, format string, v ...any) {
	l.log.Warn("redis client", zap.String("said", fmt.Sprintf(format, v...)))
}

// logClient sends to log what Redis clients say. They have one logger for the whole process: the
// one of the store that was opened last, and none once a store is closed.
func logClient(log *zap.Logger) { redis.SetLogger(clientLog{log}) }
