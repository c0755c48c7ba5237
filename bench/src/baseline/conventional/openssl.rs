//! The little of OpenSSL 3's EVP interface that SRTP needs, from the system's own library.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::ptr;
use std::rc::Rc;

use anyhow::ensure;
use libloading::Library as Shared;

const LIBRARY: &str = "libcrypto.so.3";

// <openssl/evp.h>, <openssl/core.h>
const EVP_CTRL_AEAD_GET_TAG: c_int = 0x10;
const EVP_CTRL_AEAD_SET_TAG: c_int = 0x11;
const OSSL_PARAM_UTF8_STRING: c_uint = 4;
const OSSL_PARAM_UNMODIFIED: usize = usize::MAX;

#[repr(C)]
struct OsslParam {
    key: *const c_char,
    data_type: c_uint,
    data: *mut c_void,
    data_size: usize,
    return_size: usize,
}

type Pointer = *mut c_void;
type Octets = *const u8;

/// The functions, as `<openssl/evp.h>` declares them.
struct Functions {
    cipher_fetch: unsafe extern "C" fn(Pointer, *const c_char, *const c_char) -> Pointer,
    cipher_free: unsafe extern "C" fn(Pointer),
    cipher_key_length: unsafe extern "C" fn(Pointer) -> c_int,
    cipher_vector_length: unsafe extern "C" fn(Pointer) -> c_int,
    context_new: unsafe extern "C" fn() -> Pointer,
    context_free: unsafe extern "C" fn(Pointer),
    cipher_init: unsafe extern "C" fn(Pointer, Pointer, Pointer, Octets, Octets, c_int) -> c_int,
    cipher_update: unsafe extern "C" fn(Pointer, *mut u8, *mut c_int, Octets, c_int) -> c_int,
    cipher_final: unsafe extern "C" fn(Pointer, *mut u8, *mut c_int) -> c_int,
    cipher_control: unsafe extern "C" fn(Pointer, c_int, c_int, Pointer) -> c_int,
    mac_fetch: unsafe extern "C" fn(Pointer, *const c_char, *const c_char) -> Pointer,
    mac_free: unsafe extern "C" fn(Pointer),
    mac_context_new: unsafe extern "C" fn(Pointer) -> Pointer,
    mac_context_free: unsafe extern "C" fn(Pointer),
    mac_init: unsafe extern "C" fn(Pointer, Octets, usize, *const OsslParam) -> c_int,
    mac_update: unsafe extern "C" fn(Pointer, Octets, usize) -> c_int,
    mac_final: unsafe extern "C" fn(Pointer, *mut u8, *mut usize, usize) -> c_int,
    /// What the pointers point into; unloaded after them.
    _library: Shared,
}

/// The library, loaded. Cheap to clone.
#[derive(Clone)]
pub(super) struct Library(Rc<Functions>);

impl Library {
    pub(super) fn open() -> anyhow::Result<Self> {
        // SAFETY: libcrypto's initialisers are made to be run at any time, by dlopen too.
        let library = unsafe { Shared::new(LIBRARY) }?;
        macro_rules! function {
            ($name:literal) => {
                // SAFETY: the type of the field that this goes to is that of the function's declaration in <openssl/evp.h>.
                *unsafe { library.get(concat!($name, "\0").as_bytes()) }?
            };
        }
        Ok(Self(Rc::new(Functions {
            cipher_fetch: function!("EVP_CIPHER_fetch"),
            cipher_free: function!("EVP_CIPHER_free"),
            cipher_key_length: function!("EVP_CIPHER_get_key_length"),
            cipher_vector_length: function!("EVP_CIPHER_get_iv_length"),
            context_new: function!("EVP_CIPHER_CTX_new"),
            context_free: function!("EVP_CIPHER_CTX_free"),
            cipher_init: function!("EVP_CipherInit_ex"),
            cipher_update: function!("EVP_CipherUpdate"),
            cipher_final: function!("EVP_CipherFinal_ex"),
            cipher_control: function!("EVP_CIPHER_CTX_ctrl"),
            mac_fetch: function!("EVP_MAC_fetch"),
            mac_free: function!("EVP_MAC_free"),
            mac_context_new: function!("EVP_MAC_CTX_new"),
            mac_context_free: function!("EVP_MAC_CTX_free"),
            mac_init: function!("EVP_MAC_init"),
            mac_update: function!("EVP_MAC_update"),
            mac_final: function!("EVP_MAC_final"),
            _library: library,
        })))
    }
}

/// Which way a cipher works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Decrypt = 0,
    Encrypt = 1,
}

/// A cipher with its key scheduled, both kept from packet to packet.
pub(super) struct Cipher {
    library: Library,
    context: Pointer,
    /// Octets of an initialisation vector.
    vector_length: usize,
}

impl Cipher {
    /// Takes a cipher by the name that OpenSSL knows it by. A key of another length than the cipher's is refused.
    pub(super) fn new(
        library: &Library,
        name: &CStr,
        key: &[u8],
        direction: Direction,
    ) -> anyhow::Result<Self> {
        let functions = &library.0;
        // SAFETY: the name is a C string; the default library context is asked for by a null pointer.
        let cipher =
            unsafe { (functions.cipher_fetch)(ptr::null_mut(), name.as_ptr(), ptr::null()) };
        ensure!(!cipher.is_null(), "OpenSSL has no cipher {name:?}");
        // SAFETY: the cipher is alive.
        let key_length = unsafe { (functions.cipher_key_length)(cipher) };
        // SAFETY: the cipher is alive.
        let vector_length = unsafe { (functions.cipher_vector_length)(cipher) };
        // SAFETY: takes nothing; null is checked below.
        let context = unsafe { (functions.context_new)() };
        let made = Self {
            library: library.clone(),
            context,
            vector_length: usize::try_from(vector_length).unwrap_or(0),
        };
        let status = if context.is_null() || usize::try_from(key_length) != Ok(key.len()) {
            0
        } else {
            // SAFETY: context and cipher are alive; the key has the cipher's length; the vector may be null now.
            unsafe {
                (functions.cipher_init)(
                    context,
                    cipher,
                    ptr::null_mut(),
                    key.as_ptr(),
                    ptr::null(),
                    direction as c_int,
                )
            }
        };
        // SAFETY: fetched above and not used again; the context holds a reference of its own.
        unsafe { (functions.cipher_free)(cipher) };
        ensure!(status == 1, "OpenSSL refused a key for {name:?}");
        Ok(made)
    }

    /// Starts a packet with its initialisation vector. None if that has another length than the cipher's.
    pub(super) fn start(&mut self, vector: &[u8]) -> Option<()> {
        if vector.len() != self.vector_length {
            return None;
        }
        // SAFETY: the context is alive and has cipher and key; nulls and -1 keep them; the vector has the cipher's length.
        let status = unsafe {
            (self.library.0.cipher_init)(
                self.context,
                ptr::null_mut(),
                ptr::null_mut(),
                ptr::null(),
                vector.as_ptr(),
                -1,
            )
        };
        (status == 1).then_some(())
    }

    /// Takes data that is authenticated only.
    pub(super) fn associated(&mut self, data: &[u8]) -> Option<()> {
        let mut length = 0;
        // SAFETY: the context is alive; without an output the input is associated data; its length is its own.
        let status = unsafe {
            (self.library.0.cipher_update)(
                self.context,
                ptr::null_mut(),
                &raw mut length,
                data.as_ptr(),
                c_int::try_from(data.len()).ok()?,
            )
        };
        (status == 1).then_some(())
    }

    /// Encrypts or decrypts in place.
    pub(super) fn apply(&mut self, data: &mut [u8]) -> Option<()> {
        let mut length = 0;
        let data_length = c_int::try_from(data.len()).ok()?;
        // SAFETY: the context is alive; AES-GCM and AES-CTR are stream ciphers: as much comes out as goes in, and EVP allows
        // both to be the same memory.
        let status = unsafe {
            (self.library.0.cipher_update)(
                self.context,
                data.as_mut_ptr(),
                &raw mut length,
                data.as_ptr(),
                data_length,
            )
        };
        (status == 1 && length == data_length).then_some(())
    }

    /// Ends the encryption of a packet and writes its tag.
    pub(super) fn seal(&mut self, tag: &mut [u8; 16]) -> Option<()> {
        self.finish()?;
        // SAFETY: the context is alive; `tag` has the 16 octets that are asked for.
        let status = unsafe {
            (self.library.0.cipher_control)(
                self.context,
                EVP_CTRL_AEAD_GET_TAG,
                16,
                tag.as_mut_ptr().cast(),
            )
        };
        (status == 1).then_some(())
    }

    /// Says with which tag the packet has to end.
    pub(super) fn expect(&mut self, tag: &mut [u8; 16]) -> Option<()> {
        // SAFETY: the context is alive; `tag` has the 16 octets that are read.
        let status = unsafe {
            (self.library.0.cipher_control)(
                self.context,
                EVP_CTRL_AEAD_SET_TAG,
                16,
                tag.as_mut_ptr().cast(),
            )
        };
        (status == 1).then_some(())
    }

    /// Ends a packet; `None` if its tag is wrong.
    pub(super) fn finish(&mut self) -> Option<()> {
        let mut rest = [0; 32];
        let mut length = 0;
        // SAFETY: the context is alive; at most one block comes out, and stream ciphers have none left.
        let status = unsafe {
            (self.library.0.cipher_final)(self.context, rest.as_mut_ptr(), &raw mut length)
        };
        (status == 1).then_some(())
    }
}

impl Drop for Cipher {
    fn drop(&mut self) {
        // SAFETY: made by EVP_CIPHER_CTX_new and freed once; null is allowed.
        unsafe { (self.library.0.context_free)(self.context) }
    }
}

/// HMAC-SHA1 with its key, kept from packet to packet.
pub(super) struct Hmac {
    library: Library,
    context: Pointer,
}

impl Hmac {
    pub(super) fn sha1(library: &Library, key: &[u8]) -> anyhow::Result<Self> {
        let functions = &library.0;
        // SAFETY: the name is a C string; the default library context is asked for by a null pointer.
        let mac = unsafe { (functions.mac_fetch)(ptr::null_mut(), c"HMAC".as_ptr(), ptr::null()) };
        ensure!(!mac.is_null(), "OpenSSL has no HMAC");
        // SAFETY: `mac` is alive; the context takes a reference of its own, so it may be freed.
        let context = unsafe {
            let context = (functions.mac_context_new)(mac);
            (functions.mac_free)(mac);
            context
        };
        ensure!(!context.is_null(), "OpenSSL has no memory for an HMAC");
        let made = Self {
            library: library.clone(),
            context,
        };
        let digest = c"SHA1";
        let parameters = [
            OsslParam {
                key: c"digest".as_ptr(),
                data_type: OSSL_PARAM_UTF8_STRING,
                data: digest.as_ptr().cast_mut().cast(),
                data_size: digest.count_bytes(),
                return_size: OSSL_PARAM_UNMODIFIED,
            },
            OsslParam {
                key: ptr::null(),
                data_type: 0,
                data: ptr::null_mut(),
                data_size: 0,
                return_size: 0,
            },
        ];
        // SAFETY: the context is alive; key and length belong together; the parameters end with one whose key is null, and what
        // they point at outlives the call.
        let status =
            unsafe { (functions.mac_init)(context, key.as_ptr(), key.len(), parameters.as_ptr()) };
        ensure!(status == 1, "OpenSSL refused a key for HMAC-SHA1");
        Ok(made)
    }

    /// The code of `parts`, one after the other.
    pub(super) fn code(&mut self, parts: [&[u8]; 2]) -> Option<[u8; 20]> {
        let functions = &self.library.0;
        // SAFETY: the context is alive; no key means the same key again.
        let mut status = unsafe { (functions.mac_init)(self.context, ptr::null(), 0, ptr::null()) };
        for part in parts {
            // SAFETY: the context is alive; pointer and length are of one slice.
            status &= unsafe { (functions.mac_update)(self.context, part.as_ptr(), part.len()) };
        }
        let mut code = [0; 20];
        let mut length = 0;
        // SAFETY: the context is alive; `code` has as many octets as are said.
        status &= unsafe {
            (functions.mac_final)(self.context, code.as_mut_ptr(), &raw mut length, code.len())
        };
        (status == 1 && length == code.len()).then_some(code)
    }
}

impl Drop for Hmac {
    fn drop(&mut self) {
        // SAFETY: made by EVP_MAC_CTX_new, checked not to be null, and freed once.
        unsafe { (self.library.0.mac_context_free)(self.context) }
    }
}
