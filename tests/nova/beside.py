# SPDX-License-Identifier: MIT
"""Nova's image cache, as Debian installs it, on an instances directory.

What is Nova's runs unmodified: the image back end (Qcow2 and Flat), fetching
and converting, caching ahead (LibvirtDriver.cache_image) and the cache manager.
Given to it are options of its configuration and what stands around it: a
directory of images in Glance's place, a conductor without block devices, and
records of instances, one file each.

One thing is kept from Nova: two fetches of one image at a time. They would
write into one .part and could make a damaged base without byre (Nova's
cache_image takes no lock, and its manager removes lock files that are in use).
"""

import contextlib
import fcntl
import importlib.util
import logging
import os
import shutil
import sys
import types


class Missing(Exception):
    """There is no Nova here."""


def find_nova():
    """Debian's packages are of Debian's Python: starts again with that."""
    system = "/usr/bin/python3"
    if importlib.util.find_spec("nova"):
        return
    if os.path.exists(system) and "BYRE_NOVA_PYTHON" not in os.environ:
        os.environ["BYRE_NOVA_PYTHON"] = system
        sys.stdout.flush()
        os.execv(system, [system, *sys.argv])
    raise Missing("no python3-nova")


def load():
    """Nova's modules, imported."""
    import nova.conf
    n = types.SimpleNamespace()
    from oslo_concurrency import lockutils
    from nova import context, objects, privsep
    from nova.objects import base as objects_base
    from nova.objects import block_device
    from nova.virt import images
    from nova.virt.libvirt import driver, imagebackend, imagecache
    from nova.virt.libvirt import utils
    n.conf, n.context, n.objects = nova.conf.CONF, context, objects
    n.privsep, n.base, n.bdm = privsep, objects_base, block_device
    n.images, n.imagebackend, n.imagecache = images, imagebackend, imagecache
    n.driver, n.utils, n.lockutils = driver, utils, lockutils
    return n


class Glance:
    """What nova.virt.images asks of nova.image.glance.API: id to file."""

    def __init__(self, log):
        self.images = {}  # id: (path, format)
        self.log = log

    def get(self, context, image_id, **_):
        path, fmt = self.images[image_id]
        return {"id": image_id, "disk_format": fmt, "container_format": "bare",
                "size": os.path.getsize(path), "properties": {}}

    def download(self, context, image_id, data=None, dest_path=None,
                 trusted_certs=None):
        self.log("download", image_id)
        shutil.copyfile(self.images[image_id][0], dest_path)


class Conductor:
    """No instance has block devices in the data base."""

    def __init__(self, nova):
        self.nova = nova

    def object_class_action_versions(self, context, objname, objmethod,
                                     object_versions, args, kwargs):
        if objname != "BlockDeviceMappingList":
            raise NotImplementedError(f"{objname}.{objmethod}")
        return self.nova.bdm.BlockDeviceMappingList(objects=[])


class Records:
    """The data base's instances: a directory, a file for each, which holds
    the image's id."""

    def __init__(self, path, host):
        self.path, self.host = path, host
        os.makedirs(path, exist_ok=True)

    def add(self, uuid, image_id):
        with open(os.path.join(self.path, uuid), "w", encoding="utf-8") as f:
            f.write(image_id)

    def drop(self, uuid):
        os.unlink(os.path.join(self.path, uuid))

    def all(self):
        found = []
        for uuid in os.listdir(self.path):
            try:
                with open(os.path.join(self.path, uuid),
                          encoding="utf-8") as f:
                    found.append(instance(uuid, f.read(), self.host))
            except FileNotFoundError:
                pass
        return found


def instance(uuid, image_id, host):
    return types.SimpleNamespace(
        uuid=uuid, name="instance-" + uuid[:8], host=host, task_state=None,
        vm_state="active", image_ref=image_id, kernel_id=None, ramdisk_id=None)


class Told(logging.Handler):
    """What Nova's manager says that it removed."""

    def __init__(self, log):
        super().__init__()
        self.log = log

    def emit(self, record):
        if str(record.msg).startswith("Removing base"):
            self.log("removed", os.path.basename(record.args[0]))


class Compute:
    """The part of a nova-compute that has to do with images."""

    def __init__(self, instances, state, min_age, log=lambda *_: None):
        self.nova = n = load()
        self.state, self.log = state, log
        os.makedirs(state, exist_ok=True)
        n.conf([], project="nova", default_config_files=[])
        n.conf.set_override("instances_path", instances)
        n.conf.set_override("state_path", state)
        n.conf.set_override("host", os.uname().nodename)
        n.conf.set_override("remove_unused_original_minimum_age_seconds",
                            min_age, group="image_cache")
        n.conf.set_override("remove_unused_resized_minimum_age_seconds",
                            min_age, group="image_cache")
        n.conf.set_override("lock_path", os.path.join(state, "locks"),
                            group="oslo_concurrency")
        n.objects.register_all()
        n.privsep.sys_admin_pctxt.set_client_mode(False)
        n.base.NovaObject.indirection_api = Conductor(n)
        self.glance = Glance(log)
        n.images.IMAGE_API = self.glance
        self.records = Records(os.path.join(state, "records"),
                               n.conf.host)
        self.context = n.context.get_admin_context()
        # all that Nova logs ends here
        logger = logging.getLogger("nova")
        logger.setLevel(logging.INFO)
        logger.addHandler(Told(log))
        logger.propagate = False

    @contextlib.contextmanager
    def one_fetch(self, image_id):
        path = os.path.join(self.state, "fetch-" +
                            self.nova.imagecache.get_cache_fname(image_id))
        with open(path, "a", encoding="utf-8") as f:
            fcntl.flock(f, fcntl.LOCK_EX)
            yield

    def fetch(self, context, target, image_id, trusted_certs=None):
        with self.one_fetch(image_id):
            self.nova.utils.fetch_image(context, target, image_id,
                                        trusted_certs)

    def spawn(self, uuid, image_id, size, flat=False, disk="disk"):
        """As LibvirtDriver._create_and_inject_local_root does."""
        n = self.nova
        kind = n.imagebackend.Flat if flat else n.imagebackend.Qcow2
        inst = instance(uuid, image_id, n.conf.host)
        os.makedirs(n.utils.get_instance_path(inst), exist_ok=True)
        backend = kind(inst, disk)
        backend.cache(fetch_func=self.fetch, context=self.context,
                      filename=n.imagecache.get_cache_fname(image_id),
                      size=size, image_id=image_id, trusted_certs=None)
        return backend.path

    def cache_ahead(self, image_id):
        """nova.compute.manager's cache_images calls this for each image."""
        n = self.nova
        stand_in = types.SimpleNamespace(
            image_cache_manager=n.imagecache.ImageCacheManager())
        with self.one_fetch(image_id):
            return n.driver.LibvirtDriver.cache_image(
                stand_in, self.context, image_id)

    def remove_lock(self, name):
        """The end of ImageCacheManager._remove_old_enough_file."""
        n = self.nova
        n.lockutils.remove_external_lock_file(
            name, lock_file_prefix="nova-",
            lock_path=os.path.join(n.conf.instances_path, "locks"))

    def manage(self):
        """A pass of the cache manager."""
        self.nova.imagecache.ImageCacheManager().update(
            self.context, self.records.all())
