package redisstore

import (
	"strconv"

	"trackchat/queue"
)

const (
	partitions   = 256
	clusterSlots = 16384
	slotsABlock  = 64
)

// tags returns the hash tag of each partition: the first of "0", "1", … "9", "a", … in base 36
// whose hash slot lies in the partition's own 64 of the 16,384, so that any even division of the
// slots among masters divides the partitions evenly. The tags are part of the schema.
func tags() [partitions]string {
	var table [partitions]string
	for n, left := int64(0), partitions; left > 0; n++ {
		tag := strconv.FormatInt(n, 36)
		p := slotOf(tag) / (clusterSlots / partitions)
		if table[p] == "" {
			table[p] = tag
			left--
		}
	}
	return table
}

// slotOf is the hash slot of a tag: CRC-16/XMODEM modulo 16,384 (Redis Cluster specification, "Key
// distribution model").
func slotOf(tag string) int {
	crc := uint16(0)
	for i := range len(tag) {
		crc ^= uint16(tag[i]) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return int(crc) % clusterSlots
}

// partitionOf places a tracker, for ever: the finalizer of SplitMix64 over its id.
func partitionOf(t queue.TrackerID) int {
	x := uint64(t)
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return int((x ^ x>>31) % partitions)
}

func (c *client) PartitionOf(t queue.TrackerID) queue.Partition {
	return queue.Partition(partitionOf(t))
}

// IndependentPartitions: the masters of a Cluster fail one by one, while a single address or a set
// of Sentinels is one master, which holds everything. Of a single address that is sure, because
// Open refuses a node of a Cluster there.
func (c *client) IndependentPartitions() bool { return c.cluster.many }

// place is where a message is: id = (block*64+slot)*256+partition.
type place struct {
	partition int
	block     int64
	slot      int
}

// placeOf takes an id apart; false for what cannot be one.
func placeOf(id int64) (place, bool) {
	if id <= 0 || id >= queue.MaxID {
		return place{}, false
	}
	return place{
		partition: int(id % partitions), block: id / partitions / slotsABlock,
		slot: int(id / partitions % slotsABlock),
	}, true
}

// placeIn is placeOf for an id that must be of tracker t.
func placeIn(t queue.TrackerID, id int64) (place, bool) {
	at, ok := placeOf(id)
	return at, ok && at.partition == partitionOf(t)
}

func (p place) id() int64 {
	return (p.block*slotsABlock+int64(p.slot))*partitions +
		int64(p.partition)
}
