"""Every way of training that is compared, one small file each; the core knows none of them."""
