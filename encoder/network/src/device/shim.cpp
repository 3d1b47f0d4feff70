// What the torch bindings lack: streams, and how exact float32 is. Everything goes through the
// device-neutral interfaces of c10 and ATen, whose CUDA side is found at run time, so that this
// compiles and links without CUDA. A device is a number as the bindings have it: -1 the CPU, else
// the CUDA device. Each function returns 0, or 1 and the reason in `error`.
#include <ATen/Context.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <cstdint>
#include <cstdio>
#include <exception>

namespace {

template <typename F> int guarded(char *error, size_t room, F &&run) {
  try {
    run();
    return 0;
  } catch (const std::exception &e) {
    std::snprintf(error, room, "%s", e.what());
  } catch (...) {
    std::snprintf(error, room, "an exception without a message");
  }
  return 1;
}

c10::Device device_of(int32_t number) {
  if (number < 0) return c10::Device(c10::DeviceType::CPU);
  return c10::Device(c10::DeviceType::CUDA, static_cast<c10::DeviceIndex>(number));
}

c10::Stream stream_of(int32_t device, int64_t id) {
  return c10::Stream(c10::Stream::UNSAFE, device_of(device), id);
}

} // namespace

extern "C" {

// A stream from libtorch's pool; of the CPU its only one.
int ocelli_stream(int32_t device, int64_t *id, char *error, size_t room) {
  return guarded(error, room, [&] {
    c10::impl::VirtualGuardImpl guard(device_of(device).type());
    auto stream = device < 0 ? guard.getStream(device_of(device))
                             : guard.getStreamFromGlobalPool(device_of(device));
    *id = stream.id();
  });
}

// Makes a stream the calling thread's current one on its device, and says which was.
int ocelli_stream_enter(int32_t device, int64_t id, int64_t *before, char *error, size_t room) {
  return guarded(error, room, [&] {
    c10::impl::VirtualGuardImpl guard(device_of(device).type());
    *before = guard.exchangeStream(stream_of(device, id)).id();
  });
}

// Waits for all that was put on a stream.
int ocelli_stream_wait(int32_t device, int64_t id, char *error, size_t room) {
  return guarded(error, room, [&] {
    c10::impl::VirtualGuardImpl guard(device_of(device).type());
    guard.synchronizeStream(stream_of(device, id));
  });
}

// Waits for all that was put on any stream of a device.
int ocelli_device_wait(int32_t device, char *error, size_t room) {
  return guarded(error, room, [&] {
    if (device < 0) return;
    c10::impl::VirtualGuardImpl guard(device_of(device).type());
    guard.synchronizeDevice(static_cast<c10::DeviceIndex>(device));
  });
}

// float32 is IEEE float32 on every device, where cuDNN would round to TF32's 10 bits by default;
// and of cuDNN's algorithms those that give equal bits each time, not chosen by timing them.
int ocelli_exact(char *error, size_t room) {
  return guarded(error, room, [] {
    auto &context = at::globalContext();
    context.setAllowTF32CuDNN(false);
    context.setAllowTF32CuBLAS(false);
    context.setDeterministicCuDNN(true);
    context.setBenchmarkCuDNN(false);
  });
}

} // extern "C"
