package redisstore

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

// clientLog has the Redis client write to the service's log.
type clientLog struct{ log *zap.Logger }

// Printf takes what the client has to say, which is only ever trouble.
func (l clientLog) Printf(_ context.Context, format string, v ...any) {
	l.log.Warn("redis client", zap.String("said", fmt.Sprintf(format, v...)))
}

// logClient sends to log what Redis clients say. They have one logger for the whole process: the
// one of the store that was opened last, and none once a store is closed.
func logClient(log *zap.Logger) { redis.SetLogger(clientLog{log}) }
