package redisstore_test

import (
	"testing"

	"trackchat/queue/queuetest"
	"trackchat/queue/redisstore"
)

func TestAdminContract(t *testing.T) {
	server := queuetest.StartRedis(t)
	queuetest.RunAdmin(t, func(t *testing.T) queuetest.Fixture {
		t.Helper()
		server.Must(t, "FLUSHALL")
		return fixture(t, redisstore.Options{Addrs: []string{server.Addr}})
	})
}

func TestAdminContractOnCluster(t *testing.T) {
	cluster := queuetest.StartCluster(t, 3)
	queuetest.RunAdmin(t, func(t *testing.T) queuetest.Fixture {
		t.Helper()
		for _, n := range cluster.Nodes {
			n.Must(t, "FLUSHALL")
		}
		return fixture(t, redisstore.Options{Addrs: cluster.Addrs()})
	})
}
