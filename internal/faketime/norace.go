//go:build !race

package faketime

func onOneProcessor() (done func()) { return func() {} }
