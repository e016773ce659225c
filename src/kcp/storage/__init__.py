"""Where objects are kept: etcd's model as the interface, backends that do not know each other, and the watch cache over them."""
