"""What is true on a device that is not the CPU, shown without one."""
