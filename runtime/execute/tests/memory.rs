//! What no memory holds is refused in words: byte counts do not overflow.

use bdl_execute::{Error, Store};
use bdl_plan::DType;

#[test]
fn a_buffer_that_no_memory_holds_is_refused() {
    let mut store = Store::new();
    for shape in
        [vec![i64::MAX], vec![i64::MAX, i64::MAX], vec![i64::MAX / 8], vec![1 << 58], vec![99_999_999, 99_999_999]]
    {
        let refused = store.insert("w", DType::F32, shape.clone()).err();
        assert!(matches!(refused, Some(Error::Memory { .. })), "{shape:?}: {refused:?}");
    }
    assert!(store.is_empty());
    assert_eq!(store.insert("none", DType::F64, vec![i64::MAX, i64::MAX, 0]).unwrap().buffer.len(), 0);
}
