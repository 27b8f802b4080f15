package mqtt_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"testing"

	"cloudbridge/internal/mqtt"
	"cloudbridge/internal/mqtt/mqtttest"
)

var (
	benchTopic   = "iot/ece2026/classroom1/picow/temp/37b"
	benchPayload = make([]byte, 100)
)

func versions(b *testing.B, run func(b *testing.B, v mqtt.Protocol)) {
	b.Helper()
	for _, v := range []mqtt.Protocol{mqtt.V5, mqtt.V311} {
		b.Run(v.String(), func(b *testing.B) { run(b, v) })
	}
}

func session(b *testing.B, o mqtt.Options) *mqtt.Session {
	b.Helper()
	o.CleanStart = true
	s, err := mqtt.Dial(context.Background(), o)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close(context.Background()) })
	return s
}

// BenchmarkPublish is a stream of QoS 1 messages with a hundred in flight, to Mosquitto.
func BenchmarkPublish(b *testing.B) {
	broker := mqtttest.Mosquitto(b, "max_inflight_messages 0", "log_type none")
	versions(b, func(b *testing.B, v mqtt.Protocol) {
		s := session(b, mqtt.Options{URL: broker.URL, Protocol: v, Window: 100})
		stream(b, s, 1)
	})
}

// BenchmarkPublishToASink is the same without a broker's cost: the other end only confirms.
func BenchmarkPublishToASink(b *testing.B) {
	versions(b, func(b *testing.B, v mqtt.Protocol) {
		for name, qos := range map[string]byte{"QoS0": 0, "QoS1": 1} {
			b.Run(name, func(b *testing.B) {
				s := session(b, mqtt.Options{URL: "mqtt://" + sink(b), Protocol: v, Window: 100})
				stream(b, s, qos)
			})
		}
	})
}

func stream(b *testing.B, s *mqtt.Session, qos byte) {
	b.Helper()
	var all sync.WaitGroup
	done := func(r mqtt.Result) {
		if r.Err != nil {
			b.Error(r.Err)
		}
		all.Done()
	}
	m := &mqtt.Message{Topic: benchTopic, Payload: benchPayload, QoS: qos}
	b.ReportAllocs()
	for b.Loop() {
		all.Add(1)
		if err := s.Publish(context.Background(), m, done); err != nil {
			b.Fatal(err)
		}
	}
	all.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}

// BenchmarkReceive takes QoS 1 messages from a sender that waits for the acknowledgements of a thousand.
func BenchmarkReceive(b *testing.B) {
	versions(b, func(b *testing.B, v mqtt.Protocol) {
		left := make(chan struct{})
		n := 0
		o := mqtt.Options{URL: "mqtt://" + source(b, v == mqtt.V5), Protocol: v, OnMessage: func(in *mqtt.Inbound) {
			in.Ack()
			if n++; n == b.N {
				close(left)
			}
		}}
		b.ReportAllocs()
		b.ResetTimer()
		session(b, o)
		<-left
		b.StopTimer()
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
	})
}

// serve is a bare TCP server: it answers the CONNECT and leaves the rest to run.
func serve(b *testing.B, run func(r *bufio.Reader, c net.Conn)) string {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = l.Close() })
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer func() { _ = c.Close() }()
		r := bufio.NewReaderSize(c, 64<<10)
		connect, err := frame(r)
		if err != nil {
			return
		}
		greeting := []byte{0x20, 2, 0, 0}
		if connect[6] == 5 {
			greeting = []byte{0x20, 3, 0, 0, 0}
		}
		_, _ = c.Write(greeting)
		run(r, c)
	}()
	return l.Addr().String()
}

var bodies [64 << 10]byte

func frame(r *bufio.Reader) ([]byte, error) {
	if _, err := r.ReadByte(); err != nil {
		return nil, err
	}
	n, err := binary.ReadUvarint(r)
	if err != nil {
		return nil, err
	}
	_, err = io.ReadFull(r, bodies[:n])
	return bodies[:n], err
}

func sink(b *testing.B) string {
	return serve(b, func(r *bufio.Reader, c net.Conn) {
		w := bufio.NewWriterSize(c, 4<<10)
		for {
			first, err := r.Peek(1)
			if err != nil {
				return
			}
			confirm := first[0]&6 != 0
			body, err := frame(r)
			if err != nil {
				return
			}
			if confirm {
				at := 2 + int(binary.BigEndian.Uint16(body))
				_, _ = w.Write([]byte{0x40, 2, body[at], body[at+1]})
			}
			if r.Buffered() == 0 {
				_ = w.Flush()
			}
		}
	})
}

func source(b *testing.B, five bool) string {
	return serve(b, func(r *bufio.Reader, c net.Conn) {
		body := append([]byte{0, byte(len(benchTopic))}, benchTopic...)
		at := len(body)
		body = append(body, 0, 0)
		if five {
			body = append(body, 0)
		}
		body = append(body, benchPayload...)
		packet := append(binary.AppendUvarint([]byte{0x32}, uint64(len(body))), body...)
		at += len(packet) - len(body)
		w := bufio.NewWriterSize(c, 32<<10)
		id := uint16(0)
		for open := 0; ; open++ {
			if open == 1000 {
				_ = w.Flush()
				for ; open > 500; open-- {
					if _, err := frame(r); err != nil {
						return
					}
				}
			}
			if id++; id == 0 {
				id = 1
			}
			binary.BigEndian.PutUint16(packet[at:], id)
			if _, err := w.Write(packet); err != nil {
				return
			}
		}
	})
}
